//! Settings as they lie in the volume. They are taken or refused with a sentence, and what is taken is written again as the
//! same. The digests are put right first: guessing them is not the point.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_relay::config::{Secrets, build};
use postern_wire::{PACKED_FILE, SCHEMA, Section, SettingsFile, Snapshot};

fn sealed<T: Clone + serde::Serialize>(sections: &[Section<T>]) -> Vec<Section<T>> {
    let sealed = |it: &Section<T>| Section::new(it.name.clone(), it.uid.clone(), it.generation, it.spec.clone());
    sections.iter().map(sealed).collect()
}

fuzz_target!(|text: &[u8]| {
    drop(SettingsFile::from_json(text));
    drop(SettingsFile::read(|name| Ok((name == PACKED_FILE).then(|| text.to_vec())), 1 << 20));
    let Ok(Snapshot { schema, domains, hosts, policies, nodes }) = serde_json::from_slice::<Snapshot>(text) else { return };
    let (domains, hosts, policies) = (sealed(&domains), sealed(&hosts), sealed(&policies));
    let snapshot = Snapshot { schema: schema.min(SCHEMA), domains, hosts, policies, nodes };
    let written = SettingsFile::new(snapshot.clone()).to_json();
    let again = SettingsFile::from_json(written.as_bytes()).expect("what was written is read");
    assert_eq!(again.snapshot, snapshot);
    match build(snapshot.clone(), &Secrets::default(), None) {
        Ok((config, _)) => {
            let (next, _) = build(snapshot, &Secrets::default(), Some(&config)).expect("again the same");
            assert_eq!(next.digest, config.digest);
        }
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
});
