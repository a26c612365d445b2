//! Whether a path is open: one end connects, the other greets.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

/// Says `open`, with the first line that the other end says if it says one; `refused`; or `silent`.
pub(crate) fn connect(to: &str, patience: Duration) -> io::Result<()> {
    let address = to.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("a name without an address"))?;
    match TcpStream::connect_timeout(&address, patience) {
        Ok(stream) => {
            stream.set_read_timeout(Some(patience))?;
            let mut line = String::new();
            // Not every server speaks first, and a connection that is cut again was open.
            drop(BufReader::new(stream).read_line(&mut line));
            println!("open {}", line.trim_end());
        }
        Err(error) if error.kind() == ErrorKind::TimedOut => println!("silent"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => println!("refused"),
        // A router that rejects may say "unreachable" instead.
        Err(error) => println!("refused {error}"),
    }
    Ok(())
}

/// Listens on each of these ports, on every address of either family.
pub(crate) fn listen(ports: &[u16]) -> io::Result<()> {
    let mut threads = Vec::new();
    for port in ports {
        let listener = any(*port)?;
        threads.push(thread::spawn(move || greet(&listener)));
    }
    println!("listening");
    for thread in threads {
        drop(thread.join());
    }
    Ok(())
}

/// IPv6 with IPv4 mapped into it, or IPv4 alone where the kernel has no other.
pub(crate) fn any(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
}

fn greet(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // Who is gone again needs no greeting.
        if let Ok(peer) = stream.peer_addr() {
            drop(writeln!(&stream, "220 {}\r", peer.ip().to_canonical()));
        }
    }
}
