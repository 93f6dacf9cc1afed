//! What mirror and raid have in common: copies of the same sectors, in every state, under load,
//! with every call failing, without memory, and with tables that are wrong.

#[path = "copies/faults.rs"]
mod faults;
#[path = "copies/kinds.rs"]
mod kinds;
#[path = "copies/memory.rs"]
mod memory;
#[path = "copies/states.rs"]
mod states;
#[path = "copies/stress.rs"]
mod stress;
#[path = "copies/tables.rs"]
mod tables;
