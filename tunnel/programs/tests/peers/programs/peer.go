// A TLS peer on Go's standard library: what it does is told in README.md beside it.
package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"
)

const patience = 30 * time.Second

func main() {
	role, arguments := os.Args[1], os.Args[2:]
	switch role {
	case "client":
		config := settings(arguments[2:])
		config.NextProtos = []string{"http/1.1"}
		client(arguments[0], arguments[1], config)
	case "server":
		server(arguments[0], settings(arguments[1:]))
	case "version":
		fmt.Println(runtime.Version())
	default:
		panic("client, server or version: " + role)
	}
}

// CA CERTIFICATE KEY, each a file or `-`.
func settings(files []string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: "localhost"}
	if files[0] == "-" {
		config.InsecureSkipVerify = true
	} else {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(must(os.ReadFile(files[0])))
		config.ClientCAs = config.RootCAs
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if files[1] != "-" {
		config.Certificates = []tls.Certificate{must(tls.LoadX509KeyPair(files[1], files[2]))}
	}
	return config
}

func client(address, mode string, config *tls.Config) {
	socket := must(net.DialTimeout("tcp", address, patience))
	socket.SetDeadline(time.Now().Add(patience))
	stream := tls.Client(socket, config)
	if err := stream.Handshake(); err != nil {
		end(err)
	}
	state := stream.ConnectionState()
	say("session %s %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	if mode == "listen" {
		_, err := io.Copy(os.Stdout, stream)
		stream.Close()
		end(err)
	}
	content := must(io.ReadAll(os.Stdin))
	sent := make(chan error, 1)
	go func() {
		_, err := stream.Write(content)
		if err == nil && mode == "talk" {
			err = stream.CloseWrite()
		}
		sent <- err
	}()
	var err error
	if mode == "trade" {
		if _, err = io.CopyN(os.Stdout, stream, int64(len(content))); err == nil {
			err = stream.CloseWrite()
		}
	}
	if err == nil {
		_, err = io.Copy(os.Stdout, stream)
	}
	if err == nil {
		err = <-sent
	}
	stream.Close()
	end(err)
}

func server(mode string, config *tls.Config) {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	for {
		socket := must(listener.Accept())
		go func() {
			socket.SetDeadline(time.Now().Add(patience))
			stream := tls.Server(socket, config)
			defer stream.Close()
			if err := stream.Handshake(); err != nil {
				say("handshake %s", named(err))
				return
			}
			if mode == "speak" {
				io.Copy(stream, must(os.Open(os.Args[len(os.Args)-1])))
				stream.CloseWrite()
			}
			digest := sha256.New()
			into := io.Writer(digest)
			if mode == "echo" {
				into = io.MultiWriter(digest, stream)
			}
			count, err := io.Copy(into, stream)
			say("heard %d %s %s", count, hex.EncodeToString(digest.Sum(nil)), named(err))
		}()
	}
}

// How reading ended. Go gives io.EOF, and so no error here, for a close_notify alone.
func named(err error) string {
	switch {
	case err == nil:
		return "close_notify"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "cut"
	}
	return err.Error()
}

func end(err error) {
	say("end %s", named(err))
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func say(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}

func must[T any](value T, err error) T {
	if err != nil {
		say("%v", err)
		os.Exit(2)
	}
	return value
}
