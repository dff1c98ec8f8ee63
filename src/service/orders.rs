//! Whom orders that come by REST are given to: the driver of the destination.
//!
//! It never decides about one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::control::order::Refusal;
use crate::ids::LinkName;
use crate::link::driver::Driver;
use crate::settings::link::Defaults;

use super::rest::Comparing;
use super::rest::Declared;
use super::rest::Orders;
use super::rest::Probe;
use super::rest::Reaching;

/// What REST needs of a driver, beside the links of the config file.
pub fn taken(
    driver: &Driver,
    declared: watch::Receiver<Arc<Declared>>,
    defaults: Defaults,
) -> Orders {
    Orders {
        registry: driver.registry.clone(),
        cluster: driver.cluster.clone(),
        declared,
        defaults: Arc::new(defaults),
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
}
