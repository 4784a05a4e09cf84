//! Real programs around nginx: upstreams and clients that know nothing of this
//! project, so that what they send and expect is what the world does.

pub mod curl;
pub mod h2load;
pub mod openssl;
pub mod program;
pub mod uwsgi;

pub use program::missing;
