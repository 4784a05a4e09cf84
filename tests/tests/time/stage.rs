//! One nginx with one location before the scripted upstreams.

use std::io::Result;
use std::path::Path;
use std::sync::Arc;

use pipe_tests::client::{Answer, Connection, Manner, Request};
use pipe_tests::server::{Conf, Nginx};
use pipe_tests::upstream::{Progress, Protocol, Reply, Script, Upstreams};

const PATH: &str = "/";

/// A response to be asked for.
pub struct Scene {
    pub protocol: Protocol,
    pub reply: Reply,
    /// Of the location; `@` stands for the module's name.
    pub directives: String,
    pub manner: Manner,
}

impl Scene {
    pub fn new(protocol: Protocol, reply: Reply, directives: &str) -> Self {
        Self {
            protocol,
            reply,
            directives: directives.to_owned(),
            manner: Manner::FAST,
        }
    }

    /// Starts nginx for this response alone, and asks for it.
    pub fn play(&self, binary: &Path) -> Result<Answer> {
        let progress = Arc::new(Progress::default());
        let upstreams = Upstreams::start()?;
        let script = Script::new(vec![self.reply.clone()], Arc::clone(&progress));
        upstreams.play(PATH, Arc::new(script));
        let nginx = Nginx::start(binary, |conf| self.configure(conf, &upstreams))?;

        let mut connection = Connection::open(nginx.address(), self.manner.is_slow())?;
        let answer = connection.ask(&Request::get(PATH), self.manner, &progress)?;
        progress.client_gone();
        drop((connection, upstreams));
        nginx.stop()?.check()?;
        Ok(answer)
    }

    fn configure(&self, conf: &mut Conf, upstreams: &Upstreams) {
        let module = self.protocol.module();
        let address = upstreams.address(self.protocol);
        let scheme = match self.protocol {
            Protocol::Http => "http://",
            _ => "",
        };
        conf.listen("sndbuf=8k");
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
