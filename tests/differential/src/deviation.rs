//! Where this pipe is meant to differ from nginx's.
//!
//! The harness can put each of these defects of the C pipe right from outside,
//! by changing what surrounds it. With all of them put right, the two pipes
//! must do the same. With one left alone, they may part only after the place
//! where the harness would have had to step in.

/// A defect of the C pipe that this one does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// A header that fills its buffer: the C pipe receives into no room and
    /// takes the 0 for the end of the stream.
    FullHeader,
    /// An error while receiving: the C pipe does not send what it has received
    /// before it, unless something else makes it. And of a response that is cut, it
    /// leaves with the output what the output holds.
    UnsentRest,
    /// An error while sending: the C pipe recycles buffers that the output
    /// still refers to (nginx before 1.30.6), or spills for nobody (since).
    TakenBack,
    /// A rate limit: the C pipe counts seconds by the wall clock, which somebody
    /// may set; this one, where it has a state, by the clock of the timers.
    WallClock,
    /// An output that holds on to what it has: the C pipe leaves without a look
    /// at events and timers.
    Unwatched,
}

impl Deviation {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::FullHeader,
        Self::UnsentRest,
        Self::TakenBack,
        Self::WallClock,
        Self::Unwatched,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::FullHeader => "full-header",
            Self::UnsentRest => "unsent-rest",
            Self::TakenBack => "taken-back",
            Self::WallClock => "wall-clock",
            Self::Unwatched => "unwatched",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// Which defects the harness puts right in a world, and where it did so first.
#[derive(Clone, Debug, Default)]
pub struct Repairs {
    done: [bool; Deviation::ALL.len()],
    acted: [Option<usize>; Deviation::ALL.len()],
}

impl Repairs {
    /// Puts nothing right.
    pub fn none() -> Self {
        Self::default()
    }

    /// Puts right all but this one.
    pub fn all_but(left: Option<Deviation>) -> Self {
        let mut repairs = Self::none();
        for deviation in Deviation::ALL {
            repairs.done[deviation as usize] = Some(deviation) != left;
        }
        repairs
    }

    /// Whether to step in, now that the defect would strike. The place in the
    /// trace is noted either way.
    pub(crate) fn act(&mut self, deviation: Deviation, at: usize) -> bool {
        self.acted[deviation as usize].get_or_insert(at);
        self.done[deviation as usize]
    }

    /// Whether the defect is put right.
    pub(crate) fn includes(&self, deviation: Deviation) -> bool {
        self.done[deviation as usize]
    }

    /// Where in the trace the defect would have struck first.
    pub fn acted(&self, deviation: Deviation) -> Option<usize> {
        self.acted[deviation as usize]
    }
}
