//! Clients at many addresses of this machine, whom nobody has admitted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use inclavared_config::Target;
use inclavared_tunnel::error::Error;
use inclavared_tunnel::leg::DialledLeg;
use inclavared_tunnel::leg::dial::server_name;
use inclavared_tunnel::leg::handshake;
use inclavared_tunnel::leg::socket::Socket;
use inclavared_wire::frame::{Admits, FrameKind};
use socket2::{Domain, SockAddr, Type};

use crate::harness::{Hop, World};
use crate::program::PATIENCE;
use crate::protocol::Client;
use crate::stream::bounded;

/// An address of this machine that is none of the others.
pub(crate) fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 7, number).into()
}

/// A connection from there, whose every wait ends.
pub(crate) fn socket_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(SocketAddr::from((source, 0)))).unwrap();
    socket.connect_timeout(&SockAddr::from(to), PATIENCE).unwrap();
    let stream = TcpStream::from(socket);
    bounded(&stream);
    stream
}

/// A leg from there, whose handshake has ended. The client shows no evidence.
pub(crate) fn leg_from(client: &Client, source: IpAddr, to: SocketAddr) -> Result<DialledLeg, Error> {
    let stream = socket_from(source, to);
    stream.set_nonblocking(true).unwrap();
    let name = server_name(&Target::from(to));
    client.run(async {
        let socket = Socket::tcp(tokio::net::TcpStream::from_std(stream).unwrap());
        Ok(handshake::connect(socket, &client.node.side.provider, None, name, PATIENCE).await?.0)
    })
}

/// A stream from there through a path to an echo, which has carried a byte each way.
pub(crate) fn stream_from(client: &Client, source: IpAddr, to: SocketAddr) -> Result<DialledLeg, Error> {
    let mut leg = leg_from(client, source, to)?;
    let path = client.open(&mut leg)?;
    client.start(&mut leg, &path);
    leg.source.admit(Admits::OF_SERVER);
    echo(client, &mut leg)?;
    Ok(leg)
}

/// A byte goes through the stream and comes back.
pub(crate) fn echo(client: &Client, leg: &mut DialledLeg) -> Result<(), Error> {
    client.run(async {
        leg.send(FrameKind::Data, b"x").await?;
        let frame = leg.source.frame().await?;
        assert_eq!((frame.kind, &frame.payload[..]), (FrameKind::Data, &b"x"[..]), "{frame:?}");
        Ok(())
    })
}

/// A hop before `below`. `tables` is what follows its route.
pub(crate) fn hop(world: &World, name: &str, below: SocketAddr, tables: &str) -> Hop {
    world.route(
        name,
        &format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{below}"
            upstream = "attested"
            downstream = {{ tls = "mutual", policy = "any" }}
            {tables}
            "#
        ),
    )
}
