//! Secrets, key stores and what rustls makes of them, for both clusters and for the service port.
//!
//! It never opens a socket and never knows what a connection is for.

mod client;
mod explain;
mod files;
pub mod jaas;
pub mod jks;
mod p521;
mod pem;
mod revoked;
mod seal;
mod secret;
mod server;
mod store;
mod verify;

pub use self::client::ClientOptions;
pub use self::client::ClientTls;
pub use self::client::Names;
pub use self::explain::NoTls;
pub use self::explain::inner;
pub use self::explain::io_error;
pub use self::explain::tls_error;
pub use self::files::Everybody;
pub use self::files::Exposed;
pub use self::files::FileError;
pub use self::files::exposed;
pub use self::files::read_any;
pub use self::files::read_secret;
pub use self::pem::Pem;
pub use self::revoked::RevocationLists;
pub use self::revoked::lists_in;
pub use self::seal::NoKey;
pub use self::seal::Sealer;
pub use self::seal::is_sealed;
pub use self::secret::Secret;
pub use self::server::ClientAuth;
pub use self::server::ServerOptions;
pub use self::server::ServerTls;
pub use self::server::subject;
pub use self::store::KeyPlace;
pub use self::store::KeyStore;
pub use self::store::Place;
pub use self::store::StoreError;
pub use self::store::StoreFault;
pub use self::store::TrustStore;
pub use self::store::certificates_in;
pub use self::store::identity_in;
