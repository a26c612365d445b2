//! The task that schedules: from what the spool announces to the work of each connection.
//!
//! It holds ids only. Routes are asked for by looking messages up in the spool, a bounded number at a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};

use super::next_hop::{Key, NextHops};
use super::routing::{self, Looked, Part};
use super::wheel::Wheel;
use super::worker::{self, Event, Job, Reporter};
use super::{PANICKED, Shared, chance, monotonic, warning};
use crate::address::ReversePath;
use crate::config::Directory;
use crate::envelope::{Envelope, Remote};
use crate::queue_id::QueueId;
use crate::schedule::{Backoff, Place, Schedule, Slots, Terms, Turn, Waiting, Work, Worker};
use crate::shutdown::{Shutdown, Stage};
use crate::spool::{Arrival, Arrivals};

/// Messages looked up at once.
const LOOKING_MAX: usize = 64;
/// How often the clock and the settings are looked at.
const TICK: Duration = Duration::from_millis(250);

pub(super) async fn run(shared: Arc<Shared>, arrivals: Arrivals, shutdown: Shutdown, intake: oneshot::Receiver<()>) {
    let guard = AbortOnPanic;
    Scheduler::new(shared).run(arrivals, shutdown, intake).await;
    drop(guard);
}

/// Without a scheduler mail would pile up in silence; a new process starts from the spool.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// A worker's task.
struct Hand {
    worker: Worker,
    place: Place,
    message: QueueId,
    jobs: mpsc::Sender<Job>,
}

struct Scheduler {
    shared: Arc<Shared>,
    schedule: Schedule<Key>,
    /// The settings by which routes were last asked.
    directory: Arc<dyn Directory>,
    /// What is due later.
    wheel: Wheel,
    /// What has no route, or a host that cannot be used: due as soon as the settings change.
    held: HashSet<QueueId>,
    /// To be looked up: whether the spool has announced it.
    to_route: VecDeque<(QueueId, bool)>,
    looking: FuturesUnordered<BoxFuture<'static, Looked>>,
    hands: HashMap<Id, Hand>,
    /// The task of each worker.
    workers: HashMap<Worker, Id>,
    tasks: JoinSet<()>,
    last_worker: Worker,
    /// Not before this: an attempt panicked.
    panicked: HashMap<QueueId, Timestamp>,
    events: mpsc::UnboundedSender<Event>,
    heard: mpsc::UnboundedReceiver<Event>,
}

impl Scheduler {
    fn new(shared: Arc<Shared>) -> Self {
        let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let limits = &shared.limits;
        let slots = Slots { total: count(limits.delivery_connections) };
        let backoff = Backoff { first: limits.host_retry_first, max: limits.host_retry_max };
        let (events, heard) = mpsc::unbounded_channel();
        Self {
            schedule: Schedule::new(slots, backoff),
            directory: shared.directory(),
            wheel: Wheel::default(),
            held: HashSet::new(),
            to_route: VecDeque::new(),
            looking: FuturesUnordered::new(),
            hands: HashMap::new(),
            workers: HashMap::new(),
            tasks: JoinSet::new(),
            last_worker: 0,
            panicked: HashMap::new(),
            events,
            heard,
            shared,
        }
    }

    async fn run(mut self, mut arrivals: Arrivals, shutdown: Shutdown, intake: oneshot::Receiver<()>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let settling = shutdown.reached(Stage::Settling);
        let last = async {
            shutdown.reached(Stage::Draining).await;
            // Its sender sends nothing.
            intake.await.ok();
        };
        tokio::pin!(settling, last);
        let mut leaving = false;
        loop {
            self.look();
            self.assign();
            tokio::select! {
                () = &mut settling => break,
                () = &mut last, if !leaving => leaving = true,
                Some(event) = self.heard.recv() => self.handle(event),
                Some(joined) = self.tasks.join_next_with_id() => self.joined(joined),
                Some(looked) = self.looking.next() => self.looked(looked),
                arrival = arrivals.next() => match arrival {
                    Some(arrival) => self.arrived(arrival),
                    None => break,
                },
                _ = tick.tick() => {
                    self.tick();
                    if leaving && self.is_idle() {
                        break;
                    }
                }
                () = nap(self.schedule.wake()) => {}
            }
        }
        self.drain(&shutdown).await;
    }

    /// Whether nothing is due. A connection that is kept open for a next message is no reason to stay.
    fn is_idle(&self) -> bool {
        self.to_route.is_empty() && self.looking.is_empty() && self.tasks.len() == self.schedule.idle_workers()
    }

    /// Nothing more is given out; what is under way is finished, until it must stop.
    async fn drain(mut self, shutdown: &Shutdown) {
        // Without a sender an idle worker says goodbye to its next hop.
        for hand in self.hands.values_mut() {
            hand.jobs = mpsc::channel(1).0;
        }
        while !self.tasks.is_empty() || !self.looking.is_empty() {
            tokio::select! {
                () = shutdown.reached(Stage::Ended) => break,
                Some(event) = self.heard.recv() => self.handle(event),
                Some(_) = self.tasks.join_next() => {}
                Some(_) = self.looking.next() => {}
            }
        }
        // Claims that are cut off return to the spool.
        self.tasks.shutdown().await;
    }

    fn arrived(&mut self, arrival: Arrival) {
        let due = self.panicked.get(&arrival.id).copied().unwrap_or(arrival.due);
        if routing::is_due(&self.shared, due, Timestamp::now()) {
            self.to_route.push_back((arrival.id, true));
        } else {
            self.wheel.insert(due, arrival.id);
        }
    }

    /// What holds for a destination.
    fn terms(&self, key: &Key) -> Terms {
        let connections = usize::try_from(self.shared.limits.host_connections).unwrap_or(usize::MAX);
        NextHops::of(&*self.directory, key, 0).terms(connections)
    }

    /// Looks up what is to be routed.
    fn look(&mut self) {
        while self.looking.len() < LOOKING_MAX {
            let Some((id, announced)) = self.to_route.pop_front() else { return };
            let spool = self.shared.spool.clone();
            self.looking.push(Box::pin(async move { Looked::Found(spool.envelope(id).await, announced) }));
        }
    }

    fn looked(&mut self, looked: Looked) {
        let (pending, announced) = match looked {
            Looked::Found(Some(pending), announced) => (pending, announced),
            Looked::Found(None, _) => return,
            Looked::Later(later) => {
                later.into_iter().for_each(|(due, id)| self.wheel.insert(due, id));
                return;
            }
        };
        let routed = routing::route(&self.shared, &*self.directory, &pending, Timestamp::now());
        if let Some(due) = routed.later {
            self.wheel.insert(due, pending.id);
        }
        for part in routed.to {
            self.push(&pending.envelope, pending.id, part, announced);
        }
        if !routed.held.is_empty() {
            self.held.insert(pending.id);
            self.looking.push(Box::pin(routing::hold(Arc::clone(&self.shared), pending.id, routed.held)));
        }
    }

    fn push(&mut self, envelope: &Envelope, id: QueueId, part: Part, announced: bool) {
        let Part { key, fresh, due } = part;
        let terms = self.schedule.terms(&key).copied().unwrap_or_else(|| self.terms(&key));
        let owed_at = warning::owed_at(envelope, terms.warn_after);
        let waiting = Waiting {
            fresh,
            null_sender: envelope.sender == ReversePath::Null,
            unwarned: owed_at.is_some_and(|at| due <= at),
        };
        let waits = !self.schedule.push(&key, id, waiting, terms);
        if announced && (waits || !fresh) {
            // It was tried, or waits, and is announced all the same: a person wants it tried now.
            self.schedule.probe(&key);
        }
    }

    /// Gives out what may be sent now.
    fn assign(&mut self) {
        let now = monotonic();
        while let Some(turn) = self.schedule.next(now) {
            match turn {
                Turn::Send(Work { place, key, message, worker }) => {
                    let job = Job { place, key, message };
                    match worker {
                        None => self.hire(job),
                        Some(worker) => self.pass(worker, job),
                    }
                }
                Turn::Retire(worker) => {
                    if let Some(hand) = self.workers.get(&worker).and_then(|task| self.hands.get_mut(task)) {
                        // Without a sender it says goodbye to its next hop.
                        hand.jobs = mpsc::channel(1).0;
                    }
                }
            }
        }
    }

    fn hire(&mut self, job: Job) {
        self.last_worker += 1;
        let (place, message, worker) = (job.place, job.message, self.last_worker);
        let (jobs, receiver) = mpsc::channel(1);
        let reporter = Reporter { events: self.events.clone(), place };
        let task = self.tasks.spawn(worker::run(Arc::clone(&self.shared), reporter, worker, job, receiver));
        self.hands.insert(task.id(), Hand { worker, place, message, jobs });
        self.workers.insert(worker, task.id());
    }

    fn pass(&mut self, worker: Worker, job: Job) {
        let hand = self.workers.get(&worker).and_then(|task| self.hands.get_mut(task));
        let returned = match hand {
            None => Some(job),
            Some(hand) => {
                hand.message = job.message;
                hand.jobs.try_send(job).err().map(mpsc::error::TrySendError::into_inner)
            }
        };
        if let Some(job) = returned {
            // It ends at this very moment. Another one takes the message.
            self.to_route.push_back((job.message, false));
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Reached(place) => self.reached(place),
            // Unless it has ended since.
            Event::Idle(place, worker) if self.workers.contains_key(&worker) => {
                self.reached(place);
                self.schedule.idle(place, worker);
            }
            Event::Idle(..) => {}
            Event::Full(place, full) => self.schedule.pace(place, full.until, full.every),
            Event::Route(id) => self.to_route.push_back((id, false)),
            Event::Held(id) => {
                self.held.insert(id);
            }
            Event::Later(due, id) => {
                self.wheel.insert(due, id);
            }
            Event::Unreachable { place, key, heard, answer } => {
                let now = monotonic();
                let until = self.schedule.unreachable(place, now, chance());
                answer.send(until.map(|until| until.saturating_sub(now))).ok();
                if let Some(until) = until {
                    let next_probe = super::outcome::later(Timestamp::now(), until.saturating_sub(now));
                    self.shared.view.is_down(&key, heard.clone(), next_probe);
                    self.age(place, key, heard);
                }
            }
        }
    }

    fn reached(&mut self, place: Place) {
        if self.schedule.reached(place)
            && let Some(key) = self.schedule.key(place)
        {
            self.shared.view.is_back(key);
        }
    }

    /// What waits for a next hop that is down is not tried one by one: when it is too old, or for too long without a word to
    /// its sender, the failed probe was its attempt.
    fn age(&mut self, place: Place, key: Key, heard: Remote) {
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        let aged = self.schedule.take_aged(place, now);
        if !aged.is_empty() {
            self.looking.push(Box::pin(routing::aged(Arc::clone(&self.shared), aged, key, heard)));
        }
    }

    fn joined(&mut self, joined: Result<(Id, ()), JoinError>) {
        let (task, panicked) = match joined {
            Ok((task, ())) => (task, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let Some(hand) = self.hands.remove(&task) else { return };
        self.workers.remove(&hand.worker);
        self.schedule.gone(hand.place, hand.worker);
        if panicked {
            let due = super::outcome::later(Timestamp::now(), PANICKED);
            tracing::error!(queue_id = %hand.message, "an attempt panicked; the message waits");
            self.panicked.insert(hand.message, due);
            self.wheel.insert(due, hand.message);
        }
    }

    fn tick(&mut self) {
        let now = Timestamp::now();
        while let Some(id) = self.wheel.take(|due| routing::is_due(&self.shared, due, now)) {
            self.to_route.push_back((id, false));
        }
        self.panicked.retain(|_, until| *until > now);
        self.schedule.sweep(monotonic());
        self.shared.view.retain(|key| self.schedule.terms(key).is_some());
        self.shared.health.sweep(monotonic());
        self.shared.allowances.sweep(monotonic());
        let down = i64::try_from(self.schedule.down()).unwrap_or(i64::MAX);
        self.shared.metrics.delivery().destinations_down.set(down);
        let directory = self.shared.directory();
        if !Arc::ptr_eq(&directory, &self.directory) {
            self.directory = directory;
            self.reload();
        }
    }

    /// New settings: what is stuck asks for its route again, and what flows asks at its next attempt anyway.
    fn reload(&mut self) {
        let keys: Vec<Key> = self.schedule.keys().cloned().collect();
        for key in keys {
            let terms = self.terms(&key);
            self.schedule.set_terms(&key, terms);
        }
        let stuck = self.schedule.take_stuck();
        self.to_route.extend(stuck.into_iter().map(|id| (id, false)));
        let held: Vec<QueueId> = self.held.drain().collect();
        self.shared.spool.retry(&held, Timestamp::now());
    }
}

/// Until then, when that is before the next tick.
async fn nap(wake: Option<Duration>) {
    match wake.map(|at| at.saturating_sub(monotonic())) {
        Some(nap) if nap < TICK => tokio::time::sleep(nap).await,
        _ => std::future::pending().await,
    }
}
