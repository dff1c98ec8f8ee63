//! isolog's dial over the in-memory network.
//!
//! It never delays or fails by itself: the network's rules do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use isolog::cluster::dial::Dial;
use isolog::cluster::dial::DialError;
use isolog::cluster::dial::Dialling;
use isolog::cluster::dial::Stream;

use crate::net::Net;
use crate::net::NetStream;

/// Dials in the network as one named client, so that faults can be set for it alone.
#[derive(Clone)]
pub struct NetDial {
    /// Where to dial.
    pub net: Net,
    /// Who dials; empty for nobody in particular.
    pub client: String,
    /// How long one dial may take.
    pub timeout: Duration,
}

impl Dial for NetDial {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialling<'a> {
        Box::pin(async move {
            let connect = self.net.connect_from(&self.client, host, port);
            match tokio::time::timeout(self.timeout, connect).await {
                Ok(Ok(stream)) => Ok(Box::new(stream) as Box<dyn Stream>),
                Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    Err(DialError::Dns(Arc::new(error)))
                }
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(DialError::Timeout(self.timeout)),
            }
        })
    }
}

impl Stream for NetStream {
    fn abort(self: Box<Self>) {
        NetStream::abort(*self);
    }
}
