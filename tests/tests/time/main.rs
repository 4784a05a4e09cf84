//! What a response's time is about: when its bytes go on, how long either side
//! is waited for, and by which clock. Each test shows stock nginx at fault, and
//! ours not.

mod busy;
mod clock;
mod hung;
mod pace;
mod progress;
mod stream;
