"""Toy nodes for tests of the world itself: they gossip, ask, write, read and set timers, all day long."""

from p2pai import effects, events, jobs
from p2pai.effects import Judge, Verdict
from p2pai.primitives.ids import Hash32, PeerId
from testnet.simulator.world import World

TOPIC = "t"
BEAT_MS = 500


class Toy:
    """Says and writes a number every beat, asks a remote, which reads a block, and has one each ten."""

    def __init__(self, name, disk):
        self.disk = disk
        self.name, self.said, self.heard, self.seen = name, 0, [], []
        self.remotes, self.answered, self.lost_questions = {}, 0, 0

    def handle(self, event, now_ms):
        self.seen.append((now_ms, event))
        match event:
            case events.Started(journal):
                self.said = len(journal)
                return [effects.Join(TOPIC), effects.SetTimer("beat", BEAT_MS)]
            case events.TimerFired():
                return self._beat()
            case events.Received(remote, _, data):
                self.heard.append((remote, data))
                return [Judge(Verdict.ACCEPT)]
            case events.Asked(request, _, body):
                blocks = list(self.disk.blocks)
                if blocks:
                    self.disk.body(blocks[len(body) % len(blocks)])
                return [effects.Answer(request, body)]
            case events.Connected(remote):
                self.remotes[remote] = None
            case events.Disconnected(remote):
                self.remotes.pop(remote, None)
            case events.Answered(_, _, body):
                self.answered += body is not None
                self.lost_questions += body is None
        return []

    def _beat(self):
        self.said += 1
        text = f"{self.name} {self.said}".encode()
        done = [
            effects.SetTimer("beat", BEAT_MS),
            effects.Persist(self.said, text),
            effects.Publish(TOPIC, text),
        ]
        if self.remotes:
            remote = list(self.remotes)[self.said % len(self.remotes)]
            done.append(effects.Ask(self.said, remote, text))
        if self.said % 10 == 0:
            done += self._block(self.said // 10)
        if self.said % 5 == 0:
            done.append(effects.Train(Hash32(self.said.to_bytes(32, "big")), jobs.Keep(str(self.name))))
        return done

    def _block(self, height):
        name, body = block_name(height), str(height).encode()
        stored = effects.StoreBlock(1_000 + height, name, height, body)
        return [
            stored,
            effects.StoreSnapshot(2_000 + height, height, body, (name,)),
            effects.PutBlob((body,), True),
        ]

    def times(self, kind):
        return [at_ms for at_ms, event in self.seen if isinstance(event, kind)]


def block_name(height):
    return Hash32(height.to_bytes(32, "big"))


class Trainer:
    """Gives each job back."""

    def __init__(self, blobs):
        self.blobs = blobs

    def run(self, job):
        return jobs.Kept(None, None) if job is None else jobs.Failed(job.session)


def names(count):
    return tuple(PeerId(f"n{number}") for number in range(count))


def toy_world(seed=1, count=4, **options):
    """A world of toys that have met."""
    world = World(seed, Trainer, **options)
    for name in names(count):
        world.add(name, Toy(name, world.disk(name)))
    return world


def pass_s(world, seconds):
    """Let time pass."""
    world.run(lambda: False, seconds)


def restart(world):
    """What a fault kills with."""
    return lambda name, down_ms: world.restart(name, Toy(name, world.disk(name)), down_ms)
