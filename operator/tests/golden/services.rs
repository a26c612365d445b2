//! The Services of an input.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use postern_operator::inputs::{Service, ServiceName};

/// Those that were written, and by `NAMESPACE/NAME` those that cannot be read, with the reason.
pub(crate) fn known(
    services: &[core::Service],
    slices: &[EndpointSlice],
    unreadable: BTreeMap<String, String>,
) -> BTreeMap<ServiceName, Result<Service, String>> {
    let known = services.iter().map(|service| {
        let (namespace, name) = (service.metadata.namespace.clone(), service.metadata.name.clone());
        let of_it = |slice: &&EndpointSlice| {
            slice.metadata.namespace == namespace && Service::of_slice(slice) == name.as_deref()
        };
        let known = Service::new(service, slices.iter().filter(of_it));
        (ServiceName { namespace: namespace.unwrap_or_default(), name: name.unwrap_or_default() }, Ok(known))
    });
    let unreadable = unreadable.into_iter().map(|(name, why)| {
        let (namespace, name) = name.split_once('/').expect("NAMESPACE/NAME");
        (ServiceName { namespace: namespace.to_owned(), name: name.to_owned() }, Err(why))
    });
    known.chain(unreadable).collect()
}
