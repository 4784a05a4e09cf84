//! The status of all workers: zones, formats, what Prometheus and Grafana make of it, the
//! advice, and the page in a real browser.

mod advice;
mod browser;
mod formats;
mod monitoring;
mod page;
mod zones;

use std::fs;
use std::io::{Read, Result, Write};
use std::thread;
use std::time::Duration;

use pipe_tests::Stage;
use pipe_tests::client::{Connection, Manner, Request, connect};
use pipe_tests::server::{Conf, Nginx, wait};
use pipe_tests::upstream::Progress;
use serde_json::Value;

/// The bodies of the upstream, in bytes; each is the file of its size.
const SIZES: [usize; 4] = [500, 30_000, 200_000, 3_000_000];

/// This project's nginx, which counts, before a stock nginx with files.
type Site = Stage<Nginx>;

/// All values that are compared with the totals of the same name.
const FORMAT: &str = "log_format counts '$request_uri zone=$arg_zone passed=$body_bytes_sent \
    received=$upstream_response_length spilled=$event_pipe_spilled \
    blocked=$event_pipe_blocked_count reads=$event_pipe_reads writes=$event_pipe_writes \
    peak=$event_pipe_peak';\n";

/// A site with two workers; the client's sockets hold little.
fn site(configure: impl FnOnce(&mut Conf)) -> Result<Site> {
    let binaries = pipe_tests::binaries()?;
    let files = Nginx::start(&binaries.stock, |conf| {
        conf.listen("");
        conf.server += "root files;\n";
        let folder = conf.prefix().join("files");
        fs::create_dir(&folder).expect("a new folder");
        for size in SIZES {
            let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            fs::write(folder.join(size.to_string()), body).expect("a new file");
        }
    })?;
    Site::before(files, &binaries.ours, |conf, files| {
        conf.workers = 2;
        conf.listen("sndbuf=16k");
        conf.events += "accept_mutex off;\n";
        conf.http += FORMAT;
        conf.http += &format!("upstream files {{ server {}; }}\n", files.address());
        conf.access_log = "access.log counts";
        conf.server += "location = /status { event_pipe_status; access_log off; }\n\
            location = /prometheus { event_pipe_status prometheus; access_log off; }\n\
            location = /page { event_pipe_status html; access_log off; }\n\
            rewrite ^/[a-z]+(/\\d+)$ $uri break;\n";
        configure(conf);
    })
}

/// A location that passes requests on to the files.
fn location(path: &str, directives: &str) -> String {
    format!(
        "location {path} {{ rewrite ^/.*(/[0-9]+)$ $1 break; proxy_pass http://files; \
         {directives} }}\n"
    )
}

/// Few buffers, so that a client that does not read has the response spilled.
const SMALL: &str = "proxy_buffer_size 4k; proxy_buffers 8 4k; proxy_busy_buffers_size 8k;";

/// How a client reads.
#[derive(Clone, Copy, PartialEq)]
enum Client {
    /// All at once.
    Fast,
    /// Nothing until nginx has had time to take all from the upstream.
    Late,
}

/// How late a late client is.
const LATE: Duration = Duration::from_millis(250);

trait Shows {
    fn get(&self, path: &str) -> Result<String>;
    fn get_with(&self, request: &Request, manner: Manner) -> Result<pipe_tests::client::Answer>;
    fn load(&self, paths: &[String], client: Client) -> Result<()>;
    fn json(&self) -> Result<Value>;
    fn lines(&self) -> Vec<String>;
    fn settled(&self) -> Result<Value>;
}

impl Shows for Site {
    fn get(&self, path: &str) -> Result<String> {
        let answer = self.get_with(&Request::get(path), Manner::FAST)?;
        assert_eq!(answer.status, 200, "{path}");
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    fn get_with(&self, request: &Request, manner: Manner) -> Result<pipe_tests::client::Answer> {
        let mut connection = Connection::open(self.address(), manner.is_slow())?;
        let progress = Progress::default();
        progress.client_gone();
        connection.ask(request, manner, &progress)
    }

    /// Asks for these, several at a time.
    fn load(&self, paths: &[String], client: Client) -> Result<()> {
        thread::scope(|scope| {
            let at_a_time = match client {
                Client::Fast => 4,
                Client::Late => 12,
            };
            let parts = paths.chunks(paths.len().div_ceil(at_a_time).max(1));
            let ask = |path: &String| -> Result<()> {
                let mut connection = connect(self.address(), client == Client::Late)?;
                connection.set_read_timeout(Some(Duration::from_secs(30)))?;
                connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
                if client == Client::Late {
                    thread::sleep(LATE);
                }
                connection.read_to_end(&mut Vec::new()).map(drop)
            };
            let asked: Vec<_> = parts
                .map(|part| scope.spawn(move || part.iter().try_for_each(ask)))
                .collect();
            asked
                .into_iter()
                .try_for_each(|part| part.join().expect("no panic in there"))
        })
    }

    fn json(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.get("/status")?)?)
    }

    /// The whole lines of the access log.
    fn lines(&self) -> Vec<String> {
        let log = fs::read_to_string(self.nginx.prefix().join("access.log")).unwrap_or_default();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// The status, when all that is logged is counted: nginx counts after it has logged.
    fn settled(&self) -> Result<Value> {
        let mut status = Value::Null;
        wait(|| {
            status = self.json().unwrap_or_default();
            status["responses"].as_u64() == Some(self.lines().len() as u64)
        });
        Ok(status)
    }
}

/// The value with this name of a line of the access log.
fn logged(line: &str, name: &str) -> u64 {
    let prefix = format!("{name}=");
    let value = line.split(' ').find_map(|word| word.strip_prefix(&prefix));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The sum of the numbers of an object.
fn sum(object: &Value) -> u64 {
    let values = object.as_object().expect("an object").values();
    values.filter_map(Value::as_u64).sum()
}
