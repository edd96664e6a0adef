//! Which clip every draw takes: one endless stream, a function of (seed, draw) alone.
//!
//! Clips belong to groups, and draws go round a fixed pattern of groups: one group is uniform sampling; the classes as
//! groups, each once in the pattern, is class-balanced sampling; a group that stands more often is drawn more often.
//! The draws of one group take its clips in one permutation after the other, each keyed by (seed, group, epoch).

use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream};

/// Most groups: the number of one is a part of the key of its streams.
const MAX_GROUPS: usize = 1 << 24;

/// An endless order of clips.
#[derive(Debug, Clone)]
pub struct Order {
    seed: u64,
    groups: Vec<Group>,
    /// The group of every place of the pattern, and how many places before have the same one.
    pattern: Vec<(usize, u64)>,
}

#[derive(Debug, Clone)]
struct Group {
    clips: Vec<u32>,
    /// Places in the pattern.
    share: u64,
    /// The permutation used last: its epoch and the clips in its order.
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl Order {
    /// `groups` are clips; `pattern` names groups. Every group needs a clip, and a place in the pattern.
    pub fn new(seed: u64, groups: Vec<Vec<u32>>, pattern: &[usize]) -> Result<Self> {
        let group = |clips: Vec<u32>| Group { clips, share: 0, epoch: None, order: Vec::new() };
        let mut groups: Vec<Group> = groups.into_iter().map(group).collect();
        let mut places = Vec::with_capacity(pattern.len());
        for &place in pattern {
            let count = groups.len();
            let group = groups.get_mut(place).ok_or_else(|| {
                Error::Argument(format!("pattern: names group {place}, and there are {count} groups"))
            })?;
            places.push((place, group.share));
            group.share += 1;
        }
        if groups.is_empty() || groups.len() > MAX_GROUPS {
            return Err(Error::Argument(format!("groups: expected 1 to {MAX_GROUPS}, got {}", groups.len())));
        }
        if let Some(empty) = groups.iter().position(|group| group.clips.is_empty() || group.share == 0) {
            return Err(Error::Argument(format!(
                "groups: group {empty} has no clip, or no place in the pattern"
            )));
        }
        Ok(Self { seed, groups, pattern: places })
    }

    /// All clips that are drawn.
    pub fn clips(&self) -> impl Iterator<Item = u32> {
        self.groups.iter().flat_map(|group| &group.clips).copied()
    }

    /// The clip of draw `draw`.
    pub fn clip(&mut self, draw: u64) -> u32 {
        let length = self.pattern.len() as u64;
        let (place, before) = self.pattern[(draw % length) as usize];
        let group = &mut self.groups[place];
        // Wraps only past 2⁶⁴ draws of a group.
        let turn = (draw / length).wrapping_mul(group.share).wrapping_add(before);
        let count = group.clips.len() as u64;
        let (epoch, at) = (turn / count, (turn % count) as usize);
        if group.epoch != Some(epoch) {
            group.order.clone_from(&group.clips);
            shuffle(&mut group.order, &mut Stream::new(self.seed, epoch, place as u32, Purpose::Order));
            group.epoch = Some(epoch);
        }
        group.order[at]
    }
}

/// Fisher and Yates: every permutation is equally likely.
fn shuffle(clips: &mut [u32], stream: &mut Stream) {
    for last in (1..clips.len()).rev() {
        clips.swap(last, stream.below(last as u32 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(seed: u64, clips: u32) -> Order {
        Order::new(seed, vec![(0..clips).collect()], &[0]).expect("one group, one place")
    }

    #[test]
    fn an_epoch_is_a_permutation_and_no_two_are_alike() {
        let mut order = uniform(3, 50);
        let mut epochs: Vec<Vec<u32>> = Vec::new();
        for epoch in 0..20 {
            let drawn: Vec<u32> = (0..50).map(|i| order.clip(epoch * 50 + i)).collect();
            let mut sorted = drawn.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..50));
            assert!(!epochs.contains(&drawn));
            epochs.push(drawn);
        }
        assert!((0..50).any(|i| uniform(4, 50).clip(i) != epochs[0][i as usize]));
    }

    #[test]
    fn a_draw_does_not_depend_on_the_draws_before_it() {
        let (mut forwards, mut backwards) = (uniform(1, 7), uniform(1, 7));
        let ahead: Vec<u32> = (0..100).map(|draw| forwards.clip(draw)).collect();
        let back: Vec<u32> = (0..100).rev().map(|draw| backwards.clip(draw)).collect();
        assert!(ahead.into_iter().eq(back.into_iter().rev()));
        assert!(forwards.clip(u64::MAX) < 7);
    }

    #[test]
    fn every_place_of_a_permutation_is_uniform() {
        let (clips, epochs) = (8_u64, 8_000_u64);
        let mut order = uniform(9, clips as u32);
        let mut counts = vec![0_u32; (clips * clips) as usize];
        for draw in 0..clips * epochs {
            counts[(draw % clips * clips + u64::from(order.clip(draw))) as usize] += 1;
        }
        let expected = epochs as f64 / clips as f64;
        let statistic: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        // (8 − 1)² degrees of freedom: mean 49, standard deviation 9.9.
        assert!((statistic - 49.0).abs() < 4.0 * 9.9, "{statistic}");
    }

    #[test]
    fn groups_take_turns_each_through_its_own_permutations() {
        let groups = vec![vec![0, 1, 2], vec![10, 11], vec![20, 21, 22, 23, 24]];
        let mut order = Order::new(0, groups.clone(), &[0, 1, 0, 2]).expect("each group has a place");
        let drawn: Vec<u32> = (0..4 * 30).map(|draw| order.clip(draw)).collect();
        for (group, clips) in groups.iter().enumerate() {
            let own: Vec<u32> = drawn.iter().copied().filter(|clip| clips.contains(clip)).collect();
            assert_eq!(own.len(), [60, 30, 30][group]);
            for epoch in own.chunks_exact(clips.len()) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                assert_eq!(&sorted, clips);
            }
        }
        assert!(drawn.chunks(4).all(|turn| turn[0] < 10 && turn[1] >= 10 && turn[2] < 10 && turn[3] >= 20));
    }

    #[test]
    fn groups_without_clips_or_places_are_refused() {
        for (groups, pattern) in
            [(vec![], vec![]), (vec![vec![]], vec![0]), (vec![vec![1]], vec![]), (vec![vec![1]], vec![0, 1])]
        {
            assert!(Order::new(0, groups, &pattern).is_err());
        }
    }
}
