//! The order of events around a pipe, as `ngx_http_upstream.c` makes them.

use crate::config::Config;
use crate::dice::Dice;
use crate::nginx as n;
use crate::world::{Event, OURS, STOCK, World};

/// Where the two worlds part.
pub struct Difference {
    pub seed: u64,
    pub config: Config,
    pub stock: Vec<Event>,
    pub ours: Vec<Event>,
    pub at: usize,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Start,
    UpstreamReadable,
    UpstreamTimer,
    UpstreamTimeout,
    DownstreamWritable,
    DownstreamTimer,
    DownstreamTimeout,
    ThreadDone,
    OutputDrains,
    RequestSwitch,
    LengthZero,
    Clock,
}

const STEPS: &[Step] = &[
    Step::UpstreamReadable,
    Step::UpstreamReadable,
    Step::UpstreamReadable,
    Step::DownstreamWritable,
    Step::DownstreamWritable,
    Step::DownstreamWritable,
    Step::ThreadDone,
    Step::ThreadDone,
    Step::UpstreamTimer,
    Step::DownstreamTimer,
    Step::OutputDrains,
    Step::Clock,
    Step::RequestSwitch,
    Step::UpstreamTimeout,
    Step::DownstreamTimeout,
    Step::LengthZero,
];

/// Whether the request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Goes,
    Ended,
}

/// Runs one schedule in both worlds.
pub fn run(seed: u64) -> Result<usize, Box<Difference>> {
    let mut dice = Dice::new(seed);
    let config = Config::roll(&mut dice);
    let mut msec = 50_000;
    let mut sec = 1_000_000;
    set_clock(msec, sec);

    let mut stock = World::new(STOCK, &config, dice.clone());
    let mut ours = World::new(OURS, &config, dice.clone());
    let mut step = Step::Start;
    let mut compared = 0;

    for _ in 0..80 {
        if matches!(step, Step::Clock) {
            let by = dice.pick(&[1, 50, 400, 2000]);
            msec += by;
            sec += (by / 500) as i64;
            set_clock(msec, sec);
        }

        let end = take(&mut stock, step);
        let our_end = take(&mut ours, step);

        if let Some(at) = difference(&stock.trace, &ours.trace, compared) {
            return Err(Box::new(Difference {
                seed,
                config,
                stock: stock.trace.clone(),
                ours: ours.trace.clone(),
                at,
            }));
        }
        assert_eq!(end, our_end, "equal traces end alike");
        compared = stock.trace.len();

        if end == Request::Ended {
            break;
        }

        step = dice.pick(STEPS);
        // What goes wrong in a request goes wrong once.
        if matches!(
            step,
            Step::UpstreamTimeout | Step::DownstreamTimeout | Step::LengthZero
        ) && (config.faults == 0 || !dice.one_in(config.faults))
        {
            step = Step::UpstreamReadable;
        }
    }

    Ok(compared)
}

fn set_clock(msec: u64, sec: i64) {
    // SAFETY: sets two variables that nothing else uses meanwhile.
    unsafe { n::harness_set_clock(msec as usize, sec) }
}

/// The first place where the traces part, or where both are wrong.
fn difference(stock: &[Event], ours: &[Event], from: usize) -> Option<usize> {
    let length = stock.len().max(ours.len());
    (from..length)
        .find(|&at| stock.get(at) != ours.get(at) || matches!(ours.get(at), Some(Event::Wrong(_))))
}

fn take(w: &mut World, step: Step) -> Request {
    match step {
        Step::Start => call(w, false),

        Step::UpstreamReadable | Step::UpstreamTimer => {
            if !w.has_upstream() {
                return Request::Goes;
            }
            if matches!(step, Step::UpstreamTimer) {
                if w.upstream_read().delayed() == 0 {
                    return Request::Goes;
                }
                w.stop_timer(World::upstream_read);
                w.upstream_read().set_delayed(0);
            }
            w.upstream_read().set_ready(1);
            if w.upstream_read().delayed() != 0 {
                return Request::Goes;
            }
            call(w, false)
        }

        Step::UpstreamTimeout => {
            w.stop_timer(World::upstream_read);
            w.pipe.set_upstream_error(1);
            process_request(w)
        }

        Step::DownstreamWritable | Step::DownstreamTimer => {
            if matches!(step, Step::DownstreamTimer) {
                w.downstream_write().set_delayed(0);
            }
            w.downstream_write().set_ready(1);
            w.pipe.set_aio(w.aio.into());
            if w.downstream_write().delayed() != 0 {
                return Request::Goes;
            }
            call(w, true)
        }

        Step::DownstreamTimeout => {
            w.stop_timer(World::downstream_write);
            w.pipe.set_downstream_error(1);
            process_request(w)
        }

        Step::ThreadDone => {
            if !w.aio {
                return Request::Goes;
            }
            w.aio = false;
            w.pipe.set_aio(0);
            call(w, true)
        }

        Step::OutputDrains => {
            let budget = w.dice().below(40);
            w.send(budget);
            Request::Goes
        }

        Step::RequestSwitch => {
            w.switch_request();
            Request::Goes
        }

        Step::LengthZero => {
            w.pipe.length = 0;
            call(w, false)
        }

        Step::Clock => Request::Goes,
    }
}

fn call(w: &mut World, do_write: bool) -> Request {
    if w.call(do_write) == n::NGX_ABORT as isize {
        return Request::Ended;
    }
    process_request(w)
}

/// `ngx_http_upstream_process_request`.
fn process_request(w: &mut World) -> Request {
    if !w.pipe.writing.is_null() && w.pipe.aio() == 0 && w.call(true) == n::NGX_ABORT as isize {
        return Request::Ended;
    }
    if !w.pipe.writing.is_null() {
        return Request::Goes;
    }
    if w.finished() {
        if w.pipe.downstream_done() != 0 && w.pipe.downstream_error() == 0 {
            w.check_delivered();
        }
        return Request::Ended;
    }
    if w.pipe.downstream_error() != 0 && w.pipe.cacheable() == 0 {
        return Request::Ended;
    }
    Request::Goes
}
