//! openssl, which makes certificates, and as a TLS client.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::program::{command, finish, run, start};

/// A certificate for localhost and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Signed by itself, hence also the authority to verify it by.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Certificate {
    /// Has one made in `dir`, good for the length of a test run.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let made = Self {
            certificate: dir.join("localhost.crt"),
            key: dir.join("localhost.key"),
        };
        run(command("openssl")
            .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .arg("-out")
            .arg(&made.certificate)
            .arg("-keyout")
            .arg(&made.key))?;
        Ok(made)
    }

    /// The directives by which a server of nginx uses it.
    pub fn directives(&self) -> String {
        format!(
            "ssl_certificate {};\nssl_certificate_key {};\n",
            self.certificate.display(),
            self.key.display(),
        )
    }
}

/// Sends `request` to `server`, whose certificate must come from `authority`,
/// and returns all that comes until the connection ends.
pub fn s_client(server: SocketAddr, authority: &Path, request: &str) -> io::Result<Vec<u8>> {
    let mut command = command("openssl");
    command
        .args(["s_client", "-quiet", "-verify_return_error"])
        .args(["-servername", "localhost", "-verify_hostname", "localhost"])
        .arg("-CAfile")
        .arg(authority)
        .arg("-connect")
        .arg(server.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = start(&mut command, Command::spawn)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(request.as_bytes())?;
    let output = finish(&command, child.wait_with_output()?)?;
    Ok(output.stdout)
}
