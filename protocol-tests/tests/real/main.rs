//! Real Kafka: stock brokers, the real binary, and clients that are not ours.
//!
//! It never skips: a test whose brokers cannot start fails and says what is missing.

mod acls;
mod bad_peers;
mod cases;
mod chained;
mod chaos;
mod check;
mod choices;
mod client_files;
mod cluster;
mod compacted;
mod corrupt;
mod crashes;
mod drilled;
mod followed;
mod front;
mod gallery;
mod groups;
mod halts;
mod hostile;
mod idle;
mod instances;
mod journal;
mod kafka;
mod obeyed;
mod operated;
mod paced;
mod prefixed;
mod promoted;
mod proxy;
mod rounds;
mod schemas;
mod sdk;
mod secure;
mod served;
mod starts;
mod status;
mod stopped;
mod streams;
mod switched;
mod truth;
mod verify;
mod versions;
mod wire;
