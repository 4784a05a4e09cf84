//! The order of events around a pipe, as `ngx_http_upstream.c` makes them.

use crate::choices::Choices;
use crate::config::{Config, Framing};
use crate::deviation::{Deviation, Repairs};
use crate::feature::Feature;
use crate::nginx as n;
use crate::trace::Event;
use crate::world::{Side, World, begin_cycle, end_cycle, start_worker};

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

/// The clock of nginx, the same for all worlds.
#[derive(Clone, Copy)]
pub struct Clock {
    msec: u64,
    sec: i64,
}

impl Clock {
    const START: Self = Self {
        msec: 50_000,
        sec: 1_000_000,
    };

    /// A clock that shows when a worker has started.
    pub fn start() -> Self {
        Self::START.set();
        Self::START
    }

    /// Lets time pass.
    pub fn advance(&mut self, choices: &mut Choices) {
        let by = choices.pick(&[1, 50, 400, 2000]);
        self.msec += by;
        self.sec += (by / 500) as i64;
        if choices.one_in(30) {
            // Somebody has set it.
            self.sec += choices.pick(&[3600, -3600]);
        }
    }

    /// What the clocks show to this world: of a wall clock that its pipe should
    /// not go by, what a steady one would.
    fn set_for(self, world: &mut World) {
        let start = Self::START;
        let steady = start.sec + (self.msec - start.msec) as i64 / 1000;
        let sec = match self.sec != steady && world.steadies_clock() {
            true => steady,
            false => self.sec,
        };
        Self { sec, ..self }.set();
    }

    /// Shows this time to all worlds.
    pub fn set(self) {
        // SAFETY: two variables that nothing else uses meanwhile.
        unsafe { n::harness_set_clock(self.msec as usize, self.sec) }
    }
}

/// One world on its way through a schedule.
pub struct Run {
    world: Box<World>,
    /// Not of one among many: those have one clock together.
    clock: Option<Clock>,
    steps: u64,
    step: Step,
    ended: bool,
}

impl Run {
    /// Before the first step.
    pub fn new(side: Side, config: &Config, choices: Choices) -> Self {
        start_worker();
        let clock = Some(Clock::start());
        Self {
            clock,
            ..Self::of_crowd(side, config, choices)
        }
    }

    /// The same, beside others of one worker.
    pub fn of_crowd(side: Side, config: &Config, choices: Choices) -> Self {
        Self {
            world: World::new(side, config, choices),
            clock: None,
            steps: config.steps,
            step: Step::Start,
            ended: false,
        }
    }

    /// Takes the next step in a cycle of events of its own; false when there is none.
    pub fn advance_alone(&mut self, config: &Config) -> bool {
        begin_cycle();
        let goes_on = self.advance(config);
        end_cycle();
        self.end_cycle();
        goes_on
    }

    /// The cycle of events is over: the request may have ended at its end.
    pub fn end_cycle(&mut self) {
        if self.ended {
            return;
        }
        self.world.check_patience();
        if self.world.takes_end() {
            self.end();
        }
    }

    /// Ends the request, wherever it is.
    pub fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.world.check_ended();
            self.world.end();
        }
    }

    /// What the pipe has done so far.
    pub fn trace(&self) -> &[Event] {
        self.world.trace()
    }

    /// How many times the pipe has waited for its turn.
    pub fn waits(&self) -> u64 {
        self.world.waits()
    }

    /// How many times the next turn was the pipe's, too, though others waited.
    pub fn returns(&self) -> u64 {
        self.world.returns()
    }

    /// Takes the next step; false when there is none.
    pub fn advance(&mut self, config: &Config) -> bool {
        if self.ended {
            return false;
        }
        if self.steps == 0 || self.take(self.step) == Request::Ended {
            self.end();
            return true;
        }
        self.steps -= 1;
        self.step = choose(config, self.world.choices());
        true
    }

    fn take(&mut self, step: Step) -> Request {
        if let Some(clock) = &mut self.clock {
            if matches!(step, Step::Clock) {
                clock.advance(self.world.choices());
            }
            clock.set_for(&mut self.world);
        }
        take(&mut self.world, step)
    }
}

fn choose(config: &Config, choices: &mut Choices) -> Step {
    let step = choices.pick(STEPS);
    // What goes wrong in a request goes wrong once.
    match step {
        Step::UpstreamTimeout | Step::DownstreamTimeout | Step::LengthZero
            if config.faults == 0 || !choices.one_in(config.faults) =>
        {
            Step::UpstreamReadable
        }
        step => step,
    }
}

fn take(w: &mut World, step: Step) -> Request {
    match step {
        Step::Start => {
            w.report_readable();
            call(w, false)
        }

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
            w.report_readable();
            if w.upstream_read().delayed() != 0 {
                return Request::Goes;
            }
            call(w, false)
        }

        Step::UpstreamTimeout if w.is_upstream_watched() => Request::Goes,

        Step::UpstreamTimeout => {
            w.stop_timer(World::upstream_read);
            w.pipe().set_upstream_error(1);
            process_request(w)
        }

        Step::DownstreamWritable | Step::DownstreamTimer => {
            if matches!(step, Step::DownstreamTimer) {
                w.downstream_write().set_delayed(0);
            }
            w.downstream_write().set_ready(1);
            let aio = w.aio();
            w.pipe().set_aio(aio.into());
            if w.downstream_write().delayed() != 0 {
                return Request::Goes;
            }
            call(w, true)
        }

        Step::DownstreamTimeout => {
            w.stop_timer(World::downstream_write);
            w.pipe().set_downstream_error(1);
            process_request(w)
        }

        Step::ThreadDone => {
            if !w.finish_thread() {
                return Request::Goes;
            }
            if w.downstream_write().delayed() != 0 {
                // Then the next read collects what the thread has done.
                return Request::Goes;
            }
            call(w, true)
        }

        Step::OutputDrains => {
            let budget = w.choices().below(40);
            w.send(budget);
            w.read_between_turns();
            Request::Goes
        }

        Step::RequestSwitch => {
            w.switch_request();
            Request::Goes
        }

        Step::LengthZero => {
            // As HTTP/2 does it, whose filter never tells the end otherwise.
            if w.framing() == Framing::Chunks {
                w.pipe().length = 0;
            }
            call(w, false)
        }

        Step::Clock => match w.look() {
            true => call(w, false),
            false => Request::Goes,
        },
    }
}

/// `ngx_http_upstream_process_upstream`, which a pipe in the queue is served by. Tells
/// whether the request has ended.
pub(crate) fn resume(w: &mut World) -> bool {
    call(w, false) == Request::Ended
}

fn call(w: &mut World, do_write: bool) -> Request {
    if w.call(do_write) == n::NGX_ABORT as isize {
        return Request::Ended;
    }
    process_request(w)
}

/// `ngx_http_upstream_process_request`.
fn process_request(w: &mut World) -> Request {
    let is_writing = |w: &mut World| !w.pipe().writing.is_null();

    if is_writing(w) && !w.aio() && w.call(true) == n::NGX_ABORT as isize {
        return Request::Ended;
    }
    if is_writing(w) {
        return Request::Goes;
    }
    if w.is_finished() || (w.pipe().downstream_error() != 0 && w.pipe().cacheable() == 0) {
        w.check_end();
        return Request::Ended;
    }
    Request::Goes
}

/// A schedule on which the two sides part, or on which something is wrong.
#[derive(Debug)]
pub struct Difference {
    /// What it was about.
    pub config: Config,
    /// The decisions that lead to it, if they were recorded.
    pub choices: Vec<u32>,
    /// What nginx's pipe did.
    pub stock: Vec<Event>,
    /// What this one did.
    pub ours: Vec<Event>,
    /// Where they part.
    pub at: usize,
}

impl Difference {
    fn new(config: Config, stock: &Run, ours: &Run, at: usize) -> Box<Self> {
        Box::new(Self {
            config,
            choices: ours.world.chosen().record().to_vec(),
            stock: stock.world.trace().to_vec(),
            ours: ours.world.trace().to_vec(),
            at,
        })
    }
}

/// What a schedule without a difference came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Events that were compared.
    pub events: usize,
    /// Calls that could have failed.
    pub fallible: u32,
    /// Whether the call that was to fail did.
    pub failed: bool,
}

/// Runs one schedule with both pipes, all defects of nginx's put right.
pub fn compare(choices: Choices) -> Result<Summary, Box<Difference>> {
    compare_with(choices, |_| ())
}

/// The same, with a changed configuration.
pub fn compare_with(
    mut choices: Choices,
    change: impl FnOnce(&mut Config),
) -> Result<Summary, Box<Difference>> {
    let mut config = Config::choose(&mut choices);
    change(&mut config);

    let mut stock = Run::new(
        Side::Stock(Repairs::all_but(None)),
        &config,
        choices.clone(),
    );
    let mut ours = Run::new(Side::Ours, &config, choices);
    let mut compared = 0;

    loop {
        let goes_on = stock.advance(&config);
        let ours_goes_on = ours.advance(&config);

        if let Some(at) = difference(stock.world.trace(), ours.world.trace(), compared) {
            return Err(Difference::new(config, &stock, &ours, at));
        }
        assert_eq!(goes_on, ours_goes_on, "equal traces end alike");
        assert_eq!(
            stock.world.chosen().taken(),
            ours.world.chosen().taken(),
            "equal traces choose alike"
        );
        if !goes_on {
            break;
        }
        compared = ours.world.trace().len();
    }

    Ok(Summary {
        events: compared,
        fallible: ours.world.fallible_calls(),
        failed: ours.world.failed_call().is_some(),
    })
}

/// Runs one schedule with this pipe alone. Returns the first invariant that it
/// breaks.
pub fn alone(mut choices: Choices) -> Option<&'static str> {
    let config = Config::choose(&mut choices);
    let mut run = Run::new(Side::Ours, &config, choices);
    while run.advance_alone(&config) {}
    run.world.trace().iter().find_map(|event| match event {
        Event::Wrong(what) => Some(*what),
        _ => None,
    })
}

/// What comes of a defect of nginx's pipe that is not put right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effect {
    /// The pipes part.
    pub differs: bool,
    /// nginx's pipe breaks an invariant.
    pub breaks: bool,
}

/// Runs one schedule with both pipes, one defect of nginx's left alone. They
/// may part only behind the place where it would have had to be put right.
pub fn attribute(mut choices: Choices, left: Deviation) -> Result<Effect, Box<Difference>> {
    let config = Config::choose(&mut choices);
    let run = |side| {
        let mut run = Run::new(side, &config, choices.clone());
        while run.advance_alone(&config) {}
        run
    };
    let ours = run(Side::Ours);
    let stock = run(Side::Stock(Repairs::all_but(Some(left))));

    let Some(at) = difference(stock.world.trace(), ours.world.trace(), 0) else {
        return Ok(Effect::default());
    };
    let ours_is_wrong = ours.world.trace().iter().any(is_wrong);
    if ours_is_wrong || stock.world.acted(left).is_none_or(|acted| acted > at) {
        return Err(Difference::new(config, &stock, &ours, at));
    }
    Ok(Effect {
        differs: true,
        breaks: stock.world.trace().iter().any(is_wrong),
    })
}

/// Runs one schedule with both pipes, a feature of this one turned on. They may
/// part only behind the place where it has done something; tells whether they do,
/// for what the feature is about.
pub fn with_feature(mut choices: Choices, feature: Feature) -> Result<bool, Box<Difference>> {
    let mut config = Config::choose(&mut choices);
    if feature == Feature::Segments {
        config.have_segments();
    }
    let mut stock = Run::new(
        Side::Stock(Repairs::all_but(None)),
        &config,
        choices.clone(),
    );
    config.feature = Some(feature);
    let mut ours = Run::new(Side::Ours, &config, choices);
    while stock.advance_alone(&config) {}
    start_worker();
    while ours.advance_alone(&config) {}

    let (theirs, trace) = (stock.world.trace(), ours.world.trace());
    let parted = difference(theirs, trace, 0);
    let too_early = |at| ours.world.feature_acted().is_none_or(|acted| acted > at);
    let wrong = trace.iter().position(is_wrong);

    if let Some(at) = wrong.or(parted.filter(|&at| too_early(at))) {
        return Err(Difference::new(config, &stock, &ours, at));
    }
    let is_struck = match feature {
        Feature::Wide => ours.world.writes_wide(),
        Feature::Memory => ours.world.has_borrowed(),
        Feature::Segments => ours.world.has_segments(),
        _ => true,
    };
    Ok(parted.is_some() && is_struck)
}

/// Whether an invariant was found broken.
pub(crate) fn is_wrong(event: &Event) -> bool {
    matches!(event, Event::Wrong(_))
}

/// The first place where the traces part, or where both are wrong.
pub(crate) fn difference(stock: &[Event], ours: &[Event], from: usize) -> Option<usize> {
    let length = stock.len().max(ours.len());
    (from..length).find(|&at| stock.get(at) != ours.get(at) || ours.get(at).is_some_and(is_wrong))
}
