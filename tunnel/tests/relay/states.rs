//! Walks the tables of docs/PROTOCOL.md, "States", row by row and frame by frame: a hop between a client and a server
//! that are both written by hand is put into the row's state, gets the column's frame, and must do what the cell says.

use inclavared_attest::Reason;
use inclavared_attest::path::{Abort, CloseReason, Counters, Fault};
use inclavared_tunnel::error::{Error, PeerMisbehaved};
use inclavared_tunnel::leg::{DialledLeg, Leg};
use inclavared_wire::frame::FrameKind;

use crate::peers::{Accepted, Client, Server, assert_quiet, next};
use crate::world::{Ended, Hop, World};

/// What the hop has on both sides when a state is reached. No server before it has dialled one.
struct Stage {
    client: DialledLeg,
    server: Option<Accepted>,
    preview: Vec<u8>,
}

/// A frame of this kind with a payload that is right in form, and in content where only its place can be wrong.
fn frame_of(kind: FrameKind, client: &Client, stage: &mut Stage) -> Vec<u8> {
    match kind {
        FrameKind::Open => client.ask(),
        FrameKind::Preview => stage.server.as_mut().unwrap().preview(),
        FrameKind::Start if stage.preview.is_empty() => vec![0xa0],
        FrameKind::Start => Client::start_for(&stage.preview),
        FrameKind::Abort => Abort::new(Reason::Cancelled, None).encode(),
        FrameKind::Data => b"data".to_vec(),
        FrameKind::Refresh => vec![0x80; 300],
        FrameKind::Challenge => [&[0x58, 32][..], &[7; 32]].concat(),
        FrameKind::End => Vec::new(),
        FrameKind::Trailer => stage.server.as_mut().unwrap().trailer(Counters::default()),
        FrameKind::Fault => Fault::new(Reason::Overload, "of the test").encode(),
    }
}

/// The rows of the table below a line of the document, cells without their remarks.
fn table(title: &str) -> (Vec<FrameKind>, Vec<Vec<String>>) {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md")).unwrap();
    let states = document.split("### States").nth(1).unwrap();
    let below = states.split(&format!("\n{title}:\n")).nth(1).unwrap();
    let rows = below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let mut rows = rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect());
    let head: Vec<String> = rows.next().unwrap();
    let kinds = head[1..].iter().map(|name| kind(name)).collect();
    (kinds, rows.skip(1).collect())
}

fn kind(name: &str) -> FrameKind {
    use FrameKind::*;
    let all = [Open, Preview, Start, Abort, Data, Refresh, Challenge, End, Trailer, Fault];
    all.into_iter().find(|kind| format!("{kind:?}").to_uppercase() == name).unwrap()
}

/// Drives a new connection through the hop into the state that a row names.
async fn reach(state: &str, hop: &Hop, client: &Client, server: &Server) -> Stage {
    let mut leg = client.shake_hands(hop.address).await;
    if state == "waiting" {
        return Stage { client: leg, server: None, preview: Vec::new() };
    }
    leg.send(FrameKind::Open, &client.ask()).await.unwrap();
    let mut below = server.accept().await;
    below.receive_open().await;
    if state == "opening" {
        return Stage { client: leg, server: Some(below), preview: Vec::new() };
    }
    let preview = below.preview();
    below.leg.send(FrameKind::Preview, &preview).await.unwrap();
    let preview = next(&mut leg).await.unwrap().payload.to_vec();
    if state != "previewed" {
        leg.send(FrameKind::Start, &Client::start_for(&preview)).await.unwrap();
        below.receive_start().await;
    }
    if matches!(state, "client ended" | "both ended" | "closed") {
        leg.send(FrameKind::End, b"").await.unwrap();
        assert_eq!(next(&mut below.leg).await.unwrap().kind, FrameKind::End);
    }
    if matches!(state, "server ended" | "both ended" | "closed") {
        below.leg.send(FrameKind::End, b"").await.unwrap();
        assert_eq!(next(&mut leg).await.unwrap().kind, FrameKind::End);
    }
    if state == "closed" {
        let trailer = below.trailer(Counters::default());
        below.leg.send(FrameKind::Trailer, &trailer).await.unwrap();
        assert_eq!(next(&mut leg).await.unwrap().kind, FrameKind::Trailer);
    }
    Stage { client: leg, server: Some(below), preview }
}

/// The name of a state without its remark.
fn state(row: &[String]) -> &str {
    row[0].split(" (").next().unwrap()
}

#[test]
fn a_server_does_with_each_frame_what_the_table_says() {
    use FrameKind::*;
    let world = World::new();
    let (columns, rows) = table("Server");
    assert_eq!(rows.len(), 8);
    let server = Server::new(&world);
    let hop = world.relay(server.address, "");
    Client::run(&world, async |client| {
        for row in &rows {
            let state = state(row);
            // What only a server may send is an error everywhere.
            let mut cells: Vec<(FrameKind, &str)> =
                columns.iter().copied().zip(row[1..].iter().map(String::as_str)).collect();
            if state == "closed" {
                cells = columns.iter().map(|kind| (*kind, "passed over at the end")).collect();
            } else if state != "waiting" && state != "opening" {
                cells.extend([(Preview, "."), (Refresh, "."), (Trailer, ".")]);
            }
            for (kind, cell) in cells {
                let name = format!("server, `{state}`: {kind:?} is `{cell}`");
                println!("{name}");
                let mut stage = reach(state, &hop, client, &server).await;
                let payload = frame_of(kind, client, &mut stage);
                stage.client.send(kind, &payload).await.unwrap();
                server_does(cell, kind, stage, &hop, &server, &name).await;
            }
        }
    });
}

async fn server_does(cell: &str, kind: FrameKind, mut stage: Stage, hop: &Hop, server: &Server, name: &str) {
    match cell.split(',').next().unwrap() {
        "REFRESH due" => {
            let server = stage.server.as_mut().unwrap();
            let challenge = next(&mut server.leg).await.unwrap();
            assert_eq!(challenge.kind, FrameKind::Challenge, "{name}");
            let refresh = server.refresh(&challenge.payload).await;
            server.leg.send(FrameKind::Refresh, &refresh).await.unwrap();
            assert_eq!(next(&mut stage.client).await.unwrap().kind, FrameKind::Refresh, "{name}");
            drop(stage);
            ended(hop).await;
        }
        "." => {
            let fault = fault(&mut stage.client).await;
            assert_eq!((fault.code, fault.distance), (Reason::Protocol, 0), "{name}");
            told(stage.server, Reason::Protocol, 0, name).await;
            drop(stage.client);
            assert_protocol(ended(hop).await, name);
        }
        "over" => {
            told(stage.server, Reason::Overload, 1, name).await;
            drop(stage.client);
            assert!(matches!(ended(hop).await.error(), Error::Fault(f) if f.code == Reason::Overload), "{name}");
        }
        "cancel" => {
            let code = if kind == FrameKind::Fault { Reason::Overload } else { Reason::Cancelled };
            told(stage.server, code, 1, name).await;
            drop(stage.client);
            let error = ended(hop).await.error();
            assert!(matches!(error, Error::Peer(PeerMisbehaved::Aborted(_)) | Error::Fault(_)), "{name}: {error:?}");
            assert_eq!(error.reason(), code, "{name}");
        }
        "opening" => {
            server.accept().await.receive_open().await;
            drop(stage);
            ended(hop).await;
        }
        "open" => {
            stage.server.as_mut().unwrap().receive_start().await;
            drop(stage);
            ended(hop).await;
        }
        "relay" | "client ended" | "both ended" => {
            let came = next(&mut stage.server.as_mut().unwrap().leg).await.unwrap();
            assert_eq!(came.kind, kind, "{name}");
            drop(stage);
            ended(hop).await;
        }
        "passed over" => {
            let server = stage.server.as_mut().unwrap();
            assert_quiet(&mut server.leg).await;
            let trailer = server.trailer(Counters::default());
            server.leg.send(FrameKind::Trailer, &trailer).await.unwrap();
            assert_eq!(next(&mut stage.client).await.unwrap().kind, FrameKind::Trailer, "{name}");
            drop(stage);
            ended(hop).await.assert_complete(0, 0);
        }
        "passed over at the end" => {
            assert!(matches!(next(&mut stage.client).await, Err(Error::Peer(PeerMisbehaved::Closed))), "{name}");
            drop(stage);
            ended(hop).await.assert_complete(0, 0);
        }
        other => panic!("the table has a new cell: `{other}`"),
    }
}

#[test]
fn a_client_does_with_each_frame_what_the_table_says() {
    use FrameKind::*;
    let world = World::new();
    let (columns, rows) = table("Client");
    assert_eq!(rows.len(), 7);
    let server = Server::new(&world);
    let hop = world.relay(server.address, "");
    Client::run(&world, async |client| {
        for row in &rows {
            let state = state(row);
            let mut cells: Vec<(FrameKind, &str)> =
                columns.iter().copied().zip(row[1..].iter().map(String::as_str)).collect();
            if state == "closed" {
                cells = columns.iter().map(|kind| (*kind, "too late")).collect();
            } else {
                // What only a client may send is an error everywhere.
                cells.extend([(Open, "."), (Start, "."), (Abort, "."), (Challenge, ".")]);
            }
            for (kind, cell) in cells {
                if state == "opening" && kind == Trailer {
                    // There is no preview yet that a receipt could stand on: any payload will do.
                    continue;
                }
                let name = format!("client, `{state}`: {kind:?} is `{cell}`");
                println!("{name}");
                let mut stage = reach(state, &hop, client, &server).await;
                let payload = frame_of(kind, client, &mut stage);
                stage.server.as_mut().unwrap().leg.send(kind, &payload).await.unwrap();
                if state == "previewed" {
                    // The hop looks when it is about to start the path.
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    let start = Client::start_for(&stage.preview);
                    stage.client.send(Start, &start).await.unwrap();
                }
                client_does(cell, state, kind, stage, &hop, &name).await;
            }
        }
    });
}

async fn client_does(cell: &str, state: &str, kind: FrameKind, mut stage: Stage, hop: &Hop, name: &str) {
    let waits = matches!(state, "opening" | "previewed");
    match cell {
        "." | "verify: never complete" => refused(stage, waits, Reason::Protocol, hop, name).await,
        // What the hop found in it, it says to both.
        "verify" if kind == FrameKind::Refresh => refused(stage, waits, Reason::PathForm, hop, name).await,
        // Only after its own END, and that has not been.
        "verify: complete only after its own END" => refused(stage, waits, Reason::Protocol, hop, name).await,
        "verify" => {
            assert_eq!(next(&mut stage.client).await.unwrap().kind, FrameKind::Trailer, "{name}");
            drop(stage);
            assert_eq!(ended(hop).await.result.ok(), Some(CloseReason::Complete), "{name}");
        }
        "over" => {
            let fault = fault(&mut stage.client).await;
            assert_eq!((fault.code, fault.distance), (Reason::Overload, 1), "{name}");
            drop(stage);
            assert!(matches!(ended(hop).await.error(), Error::Fault(f) if f.code == Reason::Overload), "{name}");
        }
        "previewed" | "relay" | "server ended" | "both ended" => {
            assert_eq!(next(&mut stage.client).await.unwrap().kind, kind, "{name}");
            drop(stage);
            ended(hop).await;
        }
        "too late" => {
            assert!(matches!(next(&mut stage.client).await, Err(Error::Peer(PeerMisbehaved::Closed))), "{name}");
            drop(stage);
            ended(hop).await.assert_complete(0, 0);
        }
        other => panic!("the table has a new cell: `{other}`"),
    }
}

/// The hop refuses what its server sent: it says so to both sides.
async fn refused(mut stage: Stage, waits: bool, reason: Reason, hop: &Hop, name: &str) {
    let fault = fault(&mut stage.client).await;
    assert_eq!((fault.code, fault.distance), (reason, 0), "{name}");
    let server = stage.server.unwrap();
    if !waits {
        told(Some(server), reason, 0, name).await;
    }
    drop(stage.client);
    let error = ended(hop).await.error();
    assert_eq!(error.reason(), reason, "{name}: {error:?}");
}

/// The other side learns of it: by a FAULT, by an ABORT where its path was not started, or by being left alone.
async fn told(server: Option<Accepted>, code: Reason, distance: u8, name: &str) {
    let Some(mut server) = server else { return };
    match next(&mut server.leg).await {
        Ok(frame) if frame.kind == FrameKind::Fault => {
            let fault = Fault::decode(&frame.payload).unwrap();
            assert_eq!((fault.code, fault.distance), (code, distance), "{name}");
        }
        Ok(frame) if frame.kind == FrameKind::Abort => {
            assert_eq!(Abort::decode(&frame.payload).unwrap().code, code, "{name}");
        }
        Ok(frame) => panic!("{name}: {frame:?}"),
        Err(Error::Peer(PeerMisbehaved::Closed | PeerMisbehaved::Io(_))) => {}
        Err(error) => panic!("{name}: {error:?}"),
    }
}

async fn fault(leg: &mut Leg) -> Fault {
    let frame = next(leg).await.unwrap();
    assert_eq!(frame.kind, FrameKind::Fault);
    Fault::decode(&frame.payload).unwrap()
}

fn assert_protocol(ended: Ended, name: &str) {
    let error = ended.error();
    assert_eq!(error.reason(), Reason::Protocol, "{name}: {error:?}");
}

/// As [`Hop::ended`], without standing in the way of the peers of the test.
async fn ended(hop: &Hop) -> Ended {
    loop {
        if let Some(ended) = hop.all_ended().pop() {
            return ended;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
