//! A model of the waiting room: generated sequences, and beside them a reference that keeps the order by hand.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime;
use tokio::time::Instant;

use super::{BUDGET_MAX, Permit, Refused, Room};

/// How many may wait, at most.
const MAX: usize = 5;

/// What happens; numbers choose among those that there are.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter,
    /// The application has taken the request of one that tries.
    Taken(usize),
    /// One that tries gives up.
    GiveUp(usize),
    /// One that waits leaves.
    Leave(usize),
    Shut,
    Hold,
    Release,
}

/// What there is of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Waits,
    Tries,
    /// It has passed an open door.
    Free,
    Refused,
    Gone,
}

/// How the room has to be.
#[derive(Debug, Default)]
struct Reference {
    places: Vec<Place>,
    queue: VecDeque<usize>,
    /// How many may wait.
    max: usize,
    budget: usize,
    is_shut: bool,
    is_held: bool,
}

type Entering = Pin<Box<dyn Future<Output = Result<Permit, Refused>>>>;

// === impl Reference ===

impl Reference {
    fn trying(&self) -> usize {
        self.places.iter().filter(|place| **place == Place::Tries).count()
    }

    /// Whoever comes need not wait for a turn.
    fn has_turn(&self) -> bool {
        !self.is_held && self.trying() < self.budget
    }

    /// The one with this number among those in a state.
    fn choose(&self, state: Place, number: usize) -> Option<usize> {
        let all: Vec<_> = (0..self.places.len()).filter(|it| self.places[*it] == state).collect();
        (!all.is_empty()).then(|| all[number % all.len()])
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Enter if !self.is_shut => self.places.push(Place::Free),
            Step::Enter if self.queue.len() >= self.max && !self.has_turn() => {
                self.places.push(Place::Refused);
            }
            Step::Enter => {
                self.queue.push_back(self.places.len());
                self.places.push(Place::Waits);
            }
            Step::Taken(number) => {
                if let Some(one) = self.choose(Place::Tries, number) {
                    self.places[one] = Place::Gone;
                    self.budget = (self.budget + 1).min(BUDGET_MAX);
                    self.is_shut = self.is_held || !self.queue.is_empty();
                }
            }
            Step::GiveUp(number) => {
                if let Some(one) = self.choose(Place::Tries, number) {
                    self.places[one] = Place::Gone;
                }
            }
            Step::Leave(number) => {
                if let Some(one) = self.choose(Place::Waits, number) {
                    self.places[one] = Place::Gone;
                    self.queue.retain(|waiting| *waiting != one);
                }
            }
            Step::Shut => (self.is_shut, self.budget) = (true, 1),
            Step::Hold => (self.is_shut, self.is_held) = (true, true),
            Step::Release => (self.is_held, self.budget) = (false, 1),
        }
        self.let_in(step);
    }

    /// Turns are given when somebody comes, or a turn ends, or a hold.
    fn let_in(&mut self, step: Step) {
        if matches!(step, Step::Leave(_) | Step::Shut | Step::Hold) {
            return;
        }
        while self.has_turn() {
            let Some(next) = self.queue.pop_front() else { break };
            self.places[next] = Place::Tries;
        }
    }
}

/// The room, and those who are in it.
struct Rig {
    room: Arc<Room>,
    max: usize,
    entering: Vec<Option<Entering>>,
    permits: Vec<Option<Permit>>,
    refused: Vec<bool>,
}

impl Rig {
    fn step(&mut self, step: Step, reference: &Reference) {
        match step {
            Step::Enter => {
                let (room, max) = (Arc::clone(&self.room), Some(self.max));
                let until = Instant::now() + DAY;
                self.entering
                    .push(Some(Box::pin(async move { room.enter(until, max, &mut None).await })));
                self.permits.push(None);
                self.refused.push(false);
            }
            Step::Taken(number) => {
                if let Some(one) = reference.choose(Place::Tries, number) {
                    self.permits[one].take().expect("it tries").taken();
                }
            }
            Step::GiveUp(number) => {
                if let Some(one) = reference.choose(Place::Tries, number) {
                    drop(self.permits[one].take().expect("it tries"));
                }
            }
            Step::Leave(number) => {
                if let Some(one) = reference.choose(Place::Waits, number) {
                    self.entering[one] = None;
                }
            }
            Step::Shut => drop(self.room.shut("away")),
            Step::Hold => drop(self.room.hold(Instant::now(), false)),
            Step::Release => drop(self.room.release(None)),
        }
    }

    /// Lets everybody who waits look whether it is his turn.
    async fn look(&mut self) {
        poll_fn(|cx| {
            for one in 0..self.entering.len() {
                let Some(entering) = &mut self.entering[one] else { continue };
                if let Poll::Ready(entered) = entering.as_mut().poll(cx) {
                    self.entering[one] = None;
                    self.refused[one] = entered.is_err();
                    self.permits[one] = entered.ok();
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    fn place(&self, one: usize) -> Place {
        match (&self.entering[one], &self.permits[one], self.refused[one]) {
            (Some(_), ..) => Place::Waits,
            (None, Some(permit), _) if permit.is_free() => Place::Free,
            (None, Some(_), _) => Place::Tries,
            (None, None, true) => Place::Refused,
            (None, None, false) => Place::Gone,
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);

fn step() -> impl Strategy<Value = Step> {
    let number = 0..8_usize;
    prop_oneof![
        8 => Just(Step::Enter),
        4 => number.clone().prop_map(Step::Taken),
        2 => number.clone().prop_map(Step::GiveUp),
        2 => number.prop_map(Step::Leave),
        2 => Just(Step::Shut),
        1 => Just(Step::Hold),
        2 => Just(Step::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn turns_are_given_in_order_and_no_more_than_there_are(
        max in 0..=MAX,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut reference = Reference { max, ..Reference::default() };
            let (entering, permits, refused) = (Vec::new(), Vec::new(), Vec::new());
            let mut rig = Rig { room: Arc::new(Room::new()), max, entering, permits, refused };
            for step in steps {
                rig.step(step, &reference);
                rig.look().await;
                reference.step(step);
                let places: Vec<_> = (0..rig.entering.len()).map(|one| rig.place(one)).collect();
                prop_assert_eq!(&places, &reference.places, "after {:?}", step);
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_that_closes_is_left_by_all_in_time() {
    let room = Arc::new(Room::new());
    room.shut("away");
    let first = room.enter(Instant::now() + DAY, Some(MAX), &mut None).await;
    let mut waits = None;
    let waiting = room.enter(Instant::now() + DAY, Some(MAX), &mut waits);
    tokio::pin!(waiting);
    let is_waiting = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
    assert!(is_waiting);
    let end = Instant::now() + Duration::from_secs(1);
    room.close_by(end);
    assert_eq!(waiting.await.unwrap_err(), Refused::Late);
    assert!(Instant::now() < end + Duration::from_secs(1));
    assert!(room.is_closed());
    drop(first);
}
