//! Whom orders that come by REST are given to: the driver of the destination.
//!
//! It never decides about one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::control::order::Refusal;
use crate::ids::LinkName;
use crate::link::driver::Driver;
use crate::settings::exporters;
use crate::settings::link::Defaults;

use super::rest::Comparing;
use super::rest::Declared;
use super::rest::Orders;
use super::rest::Parting;
use super::rest::Probe;
use super::rest::Reaching;

/// For how long both clusters are asked where topics part; a person waits.
const PARTED_MAX: Duration = Duration::from_secs(20);

/// What REST needs of a driver, beside the links of the config file.
pub fn taken(
    driver: &Driver,
    declared: watch::Receiver<Arc<Declared>>,
    (defaults, exporters): (Defaults, exporters::Defaults),
) -> Orders {
    Orders {
        registry: driver.registry.clone(),
        cluster: driver.cluster.clone(),
        declared,
        defaults: Arc::new(defaults),
        exporters: Arc::new(exporters),
        probe: Some(Arc::new(Prober(driver.clone()))),
    }
}

struct Prober(Driver);

impl Probe for Prober {
    fn reach(&self, link: &LinkName, configs: &BTreeMap<String, String>) -> Reaching {
        let (driver, link, configs) = (self.0.clone(), link.clone(), configs.clone());
        Box::pin(async move {
            let reached = driver.probe(&link, &configs).await;
            reached.map_err(|fault| Refusal::bad(fault.text))
        })
    }

    fn clients(&self, link: &LinkName) -> Comparing {
        let (driver, link) = (self.0.clone(), link.clone());
        Box::pin(async move { driver.clients(&link).await })
    }

    fn parted(&self, link: &LinkName) -> Parting {
        let (driver, link) = (self.0.clone(), link.clone());
        Box::pin(async move {
            match timeout(PARTED_MAX, driver.parted(&link)).await {
                Ok(told) => told,
                Err(_) => Err(format!("no answer within {} s", PARTED_MAX.as_secs())),
            }
        })
    }
}
