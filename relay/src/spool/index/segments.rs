//! Short numbers for the segments that messages are in.

use std::collections::HashMap;

use super::super::log::{Place, Slot};

/// The segments, by number.
#[derive(Debug, Default)]
pub(super) struct Segments {
    used: Vec<Option<Used>>,
    numbers: HashMap<u64, u32>,
}

#[derive(Debug)]
struct Used {
    generation: u64,
    slot: Slot,
    messages: u32,
}

impl Segments {
    /// One more message is in the segment of this place. Answers its number.
    pub(super) fn enter(&mut self, place: Place) -> u32 {
        let number = match self.numbers.get(&place.generation) {
            Some(number) => *number,
            None => {
                let free = self.used.iter().position(Option::is_none).unwrap_or(self.used.len());
                if free == self.used.len() {
                    self.used.push(None);
                }
                self.used[free] = Some(Used { generation: place.generation, slot: place.slot, messages: 0 });
                // There are as many as a disk holds segments.
                let number = free as u32;
                self.numbers.insert(place.generation, number);
                number
            }
        };
        if let Some(Some(used)) = self.used.get_mut(number as usize) {
            used.messages += 1;
        }
        number
    }

    /// One fewer is.
    pub(super) fn leave(&mut self, number: u32) {
        let Some(place) = self.used.get_mut(number as usize) else { return };
        if let Some(used) = place {
            used.messages -= 1;
            if used.messages == 0 {
                self.numbers.remove(&used.generation);
                *place = None;
            }
        }
    }

    pub(super) fn number(&self, generation: u64) -> Option<u32> {
        self.numbers.get(&generation).copied()
    }

    /// The whole place of a record in it. A number that nobody has entered is in generation zero, which there is not.
    pub(super) fn place(&self, number: u32, offset: u32, length: u32) -> Place {
        let used = self.used.get(number as usize).and_then(Option::as_ref);
        let (generation, slot) = used.map_or((0, Slot(u32::MAX)), |used| (used.generation, used.slot));
        Place { generation, slot, offset, length }
    }
}
