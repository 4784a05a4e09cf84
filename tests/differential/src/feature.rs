//! What this pipe does beyond nginx's.
//!
//! Each feature is off while the two pipes are compared. Turned on alone, it may
//! make them part only behind the place where it has first done something, and
//! no invariant may break.

/// Something that a directive turns on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `event_pipe_wide`: more is read and written at once.
    Wide,
    /// `event_pipe_memory`: the worker's memory is received into.
    Memory,
    /// `event_pipe_spill_fallback`: when spilling fails, it goes on in memory.
    Fallback,
    /// `event_pipe_spill_segments`: what is spilled goes to several files.
    Segments,
    /// `event_pipe_spill_delay`: spilling waits for the client.
    Delay,
    /// `event_pipe_stream`: what has come goes on before a buffer is full.
    Stream,
    /// `event_pipe_separate_timeouts`: each side's timer is its own.
    Timeouts,
    /// `event_pipe_max_chunk`: a pipe that has moved enough waits for its turn.
    Turns,
    /// All of them, as they meet in a server.
    Together,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Wide,
        Self::Memory,
        Self::Fallback,
        Self::Segments,
        Self::Delay,
        Self::Stream,
        Self::Timeouts,
        Self::Turns,
        Self::Together,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Memory => "memory",
            Self::Fallback => "fallback",
            Self::Segments => "segments",
            Self::Delay => "delay",
            Self::Stream => "stream",
            Self::Timeouts => "timeouts",
            Self::Turns => "turns",
            Self::Together => "together",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}
