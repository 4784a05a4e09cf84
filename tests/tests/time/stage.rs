//! One nginx with one location before the scripted upstreams.

use std::ffi::OsString;
use std::io::Result;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pipe_tests::client::{Answer, Connection, Ending, Http2, Leave, Manner, Request};
use pipe_tests::server::{Conf, Nginx};
use pipe_tests::upstream::{Progress, Protocol, Reply, Script, Upstreams};

const PATH: &str = "/";

/// The number of the one stream of a client that speaks HTTP/2, and how much
/// nginx may send on it: far more than comes, or next to nothing.
const STREAM: u32 = 1;
const WINDOW: u32 = 1 << 30;
const SMALL_WINDOW: u32 = 1000;

/// A response to be asked for.
pub struct Scene {
    pub protocol: Protocol,
    pub reply: Reply,
    /// Of the location; `@` stands for the module's name.
    pub directives: String,
    pub request: Request,
    pub manner: Manner,
    /// Whether the client speaks HTTP/2; then it reads all at once, or stays and
    /// lets nothing come.
    pub http2: bool,
    /// How long the client waits for the next bytes, if not as long as any.
    pub patience: Option<Duration>,
    /// What nginx is started with.
    pub env: Vec<(&'static str, OsString)>,
}

/// What has come of it.
#[derive(Debug)]
pub struct Outcome {
    pub answer: Answer,
    /// What the client has missed while the upstream waited for it to come.
    pub missed: Vec<usize>,
    pub log: String,
}

impl Scene {
    pub fn new(protocol: Protocol, reply: Reply, directives: &str) -> Self {
        Self {
            protocol,
            reply,
            directives: directives.to_owned(),
            request: Request::get(PATH),
            manner: Manner::FAST,
            http2: false,
            patience: None,
            env: Vec::new(),
        }
    }

    /// Starts nginx for this response alone, and asks for it.
    pub fn play(&self, binary: &Path) -> Result<Outcome> {
        self.play_meanwhile(binary, |_| ())
    }

    /// The same, with something done meanwhile.
    pub fn play_meanwhile(
        &self,
        binary: &Path,
        meanwhile: impl FnOnce(&Progress) + Send,
    ) -> Result<Outcome> {
        let progress = Arc::new(Progress::default());
        let upstreams = Upstreams::start()?;
        let script = Script::new(vec![self.reply.clone()], Arc::clone(&progress));
        upstreams.play(PATH, Arc::new(script));

        let nginx = Nginx::start(binary, |conf| {
            self.configure(conf, &upstreams);
            conf.env.clone_from(&self.env);
        })?;

        let answer = thread::scope(|scope| {
            scope.spawn(|| meanwhile(&progress));
            match self.http2 {
                true => self.ask_by_http2(nginx.address(), &progress),
                false => self.ask(nginx.address(), &progress),
            }
        })?;
        progress.client_gone();
        drop(upstreams);

        let log = nginx.error_log();
        nginx.stop()?.check()?;
        Ok(Outcome {
            answer,
            missed: progress.missed(),
            log,
        })
    }

    fn is_deaf(&self) -> bool {
        matches!(self.manner.leave, Some(Leave::Deaf))
    }

    fn ask(&self, address: SocketAddr, progress: &Progress) -> Result<Answer> {
        let mut connection = Connection::open(address, self.manner.is_slow())?;
        if let Some(patience) = self.patience {
            connection.set_patience(patience)?;
        }
        let answer = connection.ask(&self.request, self.manner, progress)?;
        if self.is_deaf() {
            progress.wait_for_end();
        }
        Ok(answer)
    }

    fn ask_by_http2(&self, address: SocketAddr, progress: &Progress) -> Result<Answer> {
        let window = if self.is_deaf() { SMALL_WINDOW } else { WINDOW };
        let mut client = Http2::open(address, false, window)?;
        client.get(STREAM, PATH)?;
        let mut body = Vec::new();
        if self.is_deaf() {
            progress.wait_for_end();
        } else {
            while let Some(part) = client.part(STREAM)? {
                body.extend(part);
                progress.received(body.len());
            }
        }
        Ok(Answer {
            status: 200,
            headers: Vec::new(),
            body,
            trailers: Vec::new(),
            complete: !self.is_deaf(),
            ending: Ending::Kept,
            excess: 0,
        })
    }

    fn configure(&self, conf: &mut Conf, upstreams: &Upstreams) {
        let module = self.protocol.module();
        let address = upstreams.address(self.protocol);
        let scheme = match self.protocol {
            Protocol::Http => "http://",
            _ => "",
        };
        conf.listen(match self.http2 {
            true => "sndbuf=8k http2",
            false => "sndbuf=8k",
        });
        conf.http += "access_log off;\nproxy_http_version 1.1;\n";
        for module in Protocol::ALL.map(Protocol::module) {
            conf.http += &format!("{module}_cache_path cache-{module} keys_zone={module}:1m;\n");
            if module != "proxy" {
                conf.http += &format!(
                    "{module}_param REQUEST_METHOD $request_method;\n\
                     {module}_param REQUEST_URI $uri;\n"
                );
            }
        }
        let directives = self.directives.replace('@', module);
        conf.server +=
            &format!("location / {{\n{module}_pass {scheme}{address};\n{directives}\n}}\n");
    }
}
