use super::unreadable;
use crate::cache::Known;

#[test]
fn a_namespace_without_our_role_wants_the_relay_chart_and_one_with_an_old_role_its_upgrade() {
    let refused = |what: &str| Known::Refused(format!("{what} is forbidden"));
    let said = |known: &[Known]| unreadable("dmz", "postern-system", known);
    assert_eq!(said(&[Known::All, Known::All]), None);
    assert_eq!(
        said(&[refused("configmaps"), refused("pods")]).as_deref(),
        Some(
            "no relay chart is installed in namespace dmz for this operator (helm install postern-relay charts/relay -n dmz \
             --set operator.namespace=postern-system …): configmaps is forbidden"
        )
    );
    assert_eq!(
        said(&[Known::All, refused("pods")]).as_deref(),
        Some(
            "the operator's Role in namespace dmz is not that of the relay chart of today (helm upgrade it): pods is \
             forbidden"
        )
    );
}
