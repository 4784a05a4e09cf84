//! What goes beyond nginx's pipe makes no response worse than it is on nginx:
//! each test has what stock does well, and ours with its extensions as well.

mod bodies;
mod descriptors;
mod files;
mod threads;
