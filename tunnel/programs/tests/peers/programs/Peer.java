import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.HexFormat;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedTrustManager;

/** A TLS peer on Java's own TLS: what it does is told in README.md beside it. */
public class Peer {
    static final int PATIENCE = 30_000;
    static final int PIECE = 64 * 1024;

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "client" -> client(words[1], words[2], words[3], words[4], words[5]);
            case "server" -> server(words[1], words[2], words[3], words[4], words.length > 5 ? words[5] : null);
            default -> System.out.println(Runtime.version());
        }
    }

    static void client(String address, String mode, String ca, String certificate, String key) throws Exception {
        int colon = address.lastIndexOf(':');
        String host = address.substring(0, colon);
        int port = Integer.parseInt(address.substring(colon + 1));
        try {
            Socket raw = new Socket();
            raw.connect(new InetSocketAddress(host, port), PATIENCE);
            SSLSocket tls = (SSLSocket)
                    context(ca, certificate, key).getSocketFactory().createSocket(raw, "localhost", port, true);
            SSLParameters parameters = parameters(!ca.equals("-"), false);
            parameters.setApplicationProtocols(new String[] {"http/1.1"});
            tls.setSSLParameters(parameters);
            tls.setSoTimeout(PATIENCE);
            tls.startHandshake();
            say("session " + tls.getSession().getProtocol() + " " + tls.getSession().getCipherSuite());
            byte[] content = mode.equals("listen") ? new byte[0] : System.in.readAllBytes();
            Thread sending = new Thread(() -> send(tls, new ByteArrayInputStream(content), mode.equals("talk")));
            sending.start();
            if (mode.equals("trade")) {
                System.out.write(tls.getInputStream().readNBytes(content.length));
                sending.join(PATIENCE);
                tls.shutdownOutput();
            }
            hear(tls.getInputStream(), System.out);
            System.out.flush();
            sending.join(PATIENCE);
            if (mode.equals("listen")) {
                tls.shutdownOutput();
            }
        } catch (Exception error) {
            say("end " + named(error));
            System.exit(1);
        }
        say("end close_notify");
    }

    static void server(String mode, String ca, String certificate, String key, String file) throws Exception {
        SSLServerSocket listener = (SSLServerSocket) context(ca, certificate, key)
                .getServerSocketFactory()
                .createServerSocket(0, 16, InetAddress.getByName("127.0.0.1"));
        listener.setSSLParameters(parameters(false, !ca.equals("-")));
        System.out.println("port " + listener.getLocalPort());
        while (true) {
            SSLSocket tls = (SSLSocket) listener.accept();
            new Thread(() -> serve(mode, tls, file)).start();
        }
    }

    static void serve(String mode, SSLSocket tls, String file) {
        try {
            tls.setSoTimeout(PATIENCE);
            tls.startHandshake();
        } catch (Exception error) {
            say("handshake " + named(error));
            return;
        }
        Digest digest = new Digest();
        String how = "close_notify";
        try {
            Thread sending = null;
            if (mode.equals("speak")) {
                InputStream content = Files.newInputStream(Path.of(file));
                sending = new Thread(() -> send(tls, content, true));
                sending.start();
            } else if (mode.equals("echo")) {
                digest.into = tls.getOutputStream();
            }
            hear(tls.getInputStream(), digest);
            if (sending != null) {
                sending.join(PATIENCE);
            } else {
                tls.shutdownOutput();
            }
        } catch (Exception error) {
            how = named(error);
        }
        say("heard " + digest.count + " " + digest.hex() + " " + how);
    }

    /** Sends all of it, and then close_notify if that is to end it. */
    static void send(SSLSocket tls, InputStream content, boolean end) {
        try {
            content.transferTo(tls.getOutputStream());
            if (end) {
                tls.shutdownOutput();
            }
        } catch (Exception error) {
            say("sending: " + named(error));
        }
    }

    static void hear(InputStream from, OutputStream into) throws Exception {
        byte[] piece = new byte[PIECE];
        for (int read; (read = from.read(piece)) >= 0; ) {
            into.write(piece, 0, read);
        }
    }

    static class Digest extends OutputStream {
        final MessageDigest digest;
        OutputStream into = OutputStream.nullOutputStream();
        long count;

        Digest() {
            try {
                digest = MessageDigest.getInstance("SHA-256");
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        }

        @Override
        public void write(byte[] bytes, int at, int length) throws java.io.IOException {
            digest.update(bytes, at, length);
            count += length;
            into.write(bytes, at, length);
        }

        @Override
        public void write(int one) throws java.io.IOException {
            write(new byte[] {(byte) one}, 0, 1);
        }

        String hex() {
            return HexFormat.of().formatHex(digest.digest());
        }
    }

    static SSLParameters parameters(boolean checkName, boolean needClient) {
        SSLParameters made = new SSLParameters();
        made.setProtocols(new String[] {"TLSv1.3"});
        if (checkName) {
            made.setEndpointIdentificationAlgorithm("HTTPS");
        }
        made.setNeedClientAuth(needClient);
        return made;
    }

    static SSLContext context(String ca, String certificate, String key) throws Exception {
        TrustManager[] trust = {new TrustsAnybody()};
        if (!ca.equals("-")) {
            KeyStore roots = KeyStore.getInstance("PKCS12");
            roots.load(null, null);
            roots.setCertificateEntry("ca", certificates(ca)[0]);
            TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
            factory.init(roots);
            trust = factory.getTrustManagers();
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        KeyStore own = KeyStore.getInstance("PKCS12");
        own.load(null, null);
        if (!certificate.equals("-")) {
            byte[] der = Base64.getMimeDecoder()
                    .decode(Files.readString(Path.of(key)).replaceAll("-----[A-Z ]+-----", ""));
            Certificate[] chain = certificates(certificate);
            String algorithm = chain[0].getPublicKey().getAlgorithm();
            own.setKeyEntry(
                    "own",
                    KeyFactory.getInstance(algorithm).generatePrivate(new PKCS8EncodedKeySpec(der)),
                    new char[0],
                    chain);
        }
        keys.init(own, new char[0]);
        SSLContext context = SSLContext.getInstance("TLSv1.3");
        context.init(keys.getKeyManagers(), trust, null);
        return context;
    }

    static Certificate[] certificates(String file) throws Exception {
        try (InputStream content = Files.newInputStream(Path.of(file))) {
            return CertificateFactory.getInstance("X.509").generateCertificates(content).toArray(Certificate[]::new);
        }
    }

    /** Where no CA is named. The extended form, so that the name is not checked behind its back. */
    static class TrustsAnybody extends X509ExtendedTrustManager {
        @Override
        public void checkClientTrusted(X509Certificate[] chain, String kind) {}

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String kind) {}

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String kind, Socket socket) {}

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String kind, Socket socket) {}

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String kind, SSLEngine engine) {}

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String kind, SSLEngine engine) {}

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }

    static String named(Exception error) {
        String text = String.valueOf(error.getMessage());
        return error instanceof java.io.EOFException || text.contains("shut down incorrectly") ? "cut" : text;
    }

    static void say(String line) {
        System.err.println(line);
    }
}
