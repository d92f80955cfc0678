"""What a stranger with Eclipse Paho for Python (1.6, as Debian ships it) sees of two nodes.

    features.py <port of node-1> <port of node-2> [<name of a check> ...]

Each function `check_...` is one feature: it gets a prefix of its own for topics and client ids, and
both ports. Prints `ok <name>` or `FAILED <name>: <why>` for each, and ends with 1 if one failed.
"""

import queue
import sys
import threading
import time
import traceback

import paho.mqtt.client as mqtt

PATIENCE = 60


class Client:
    """A connected client; messages, answers and its end can be waited for."""

    def __init__(self, port, name, clean=True, will=None, filters=(), keepalive=60):
        self.messages = queue.Queue()
        self.done = {}
        self.changed = threading.Condition()
        self.session_present = None
        self.ended = threading.Event()
        self.paho = mqtt.Client(client_id=name, clean_session=clean, protocol=mqtt.MQTTv311)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = lambda *_: self.ended.set()
        self.paho.on_message = lambda _client, _userdata, message: self.messages.put(message)
        self.paho.on_subscribe = lambda _c, _u, mid, granted: self._note("sub", mid, granted)
        self.paho.on_unsubscribe = lambda _c, _u, mid: self._note("unsub", mid, True)
        if will is not None:
            self.paho.will_set(*will)
        self.connected = threading.Event()
        self.paho.connect("127.0.0.1", port, keepalive)
        self.paho.loop_start()
        assert self.connected.wait(PATIENCE), "no CONNACK"
        for topic, qos in filters:
            self.subscribe(topic, qos)

    def _on_connect(self, _client, _userdata, flags, code):
        assert code == 0, f"CONNACK {code}"
        self.session_present = flags["session present"]
        self.connected.set()

    def _note(self, kind, mid, what):
        with self.changed:
            self.done[kind, mid] = what
            self.changed.notify_all()

    def _wait(self, kind, mid):
        with self.changed:
            came = self.changed.wait_for(lambda: (kind, mid) in self.done, PATIENCE)
            assert came, f"no answer to {kind} {mid}"
            return self.done[kind, mid]

    def subscribe(self, topic, qos):
        _, mid = self.paho.subscribe(topic, qos)
        granted = self._wait("sub", mid)
        assert granted[0] == qos, f"{topic}: granted {granted}"

    def unsubscribe(self, topic):
        _, mid = self.paho.unsubscribe(topic)
        self._wait("unsub", mid)

    def publish(self, topic, payload, qos=1, retain=False):
        sent = self.paho.publish(topic, payload, qos, retain)
        sent.wait_for_publish(PATIENCE)
        assert sent.is_published(), f"{topic}: no answer"

    def message(self):
        return self.messages.get(timeout=PATIENCE)

    def expect(self, *payloads):
        found = [self.message().payload.decode() for _ in payloads]
        assert found == list(payloads), f"{found} instead of {list(payloads)}"

    def quit(self):
        """With a DISCONNECT."""
        self.paho.disconnect()
        self.paho.loop_stop()

    def vanish(self):
        """Without one."""
        self.paho.loop_stop()
        self.paho._sock.close()


def check_every_qos_crosses(prefix, a, b):
    bob = Client(b, prefix + "bob", filters=[(prefix + "#", 2)])
    alice = Client(a, prefix + "alice")
    for qos in (0, 1, 2):
        alice.publish(prefix + "t", f"{qos}", qos)
        message = bob.message()
        assert (message.payload, message.qos) == (f"{qos}".encode(), qos)
        assert not message.retain and not message.dup
    alice.quit()
    bob.quit()


def check_hundred_messages_keep_their_order(prefix, a, b):
    bob = Client(b, prefix + "bob", filters=[(prefix + "t", 2)])
    alice = Client(a, prefix + "alice")
    expected = [str(number) for number in range(100)]
    sent = [alice.paho.publish(prefix + "t", payload, 2) for payload in expected]
    for one in sent:
        one.wait_for_publish(PATIENCE)
    bob.expect(*expected)
    alice.quit()
    bob.quit()


def check_wildcards_and_unsubscribe(prefix, a, b):
    bob = Client(b, prefix + "bob", filters=[(prefix + "+/x", 1), (prefix + "deep/#", 1)])
    alice = Client(a, prefix + "alice")
    for topic in ("a/x", "a/y", "deep", "deep/a/b"):
        alice.publish(prefix + topic, topic)
    bob.expect("a/x", "deep", "deep/a/b")
    bob.unsubscribe(prefix + "deep/#")
    alice.publish(prefix + "deep/a", "no")
    alice.publish(prefix + "b/x", "yes")
    bob.expect("yes")
    alice.quit()
    bob.quit()


def check_durable_session_keeps_messages(prefix, a, b):
    bob = Client(b, prefix + "bob", clean=False, filters=[(prefix + "#", 2)])
    assert not bob.session_present
    bob.quit()
    alice = Client(a, prefix + "alice")
    expected = [str(number) for number in range(50)]
    for number, payload in enumerate(expected):
        alice.publish(prefix + "t", payload, 1 + number % 2)
    bob = Client(b, prefix + "bob", clean=False)
    assert bob.session_present
    found = [bob.message() for _ in expected]
    # Paho hands a message of QoS 2 out when it is released, so the order is one for each QoS.
    for qos in (1, 2):
        of_qos = [message.payload.decode() for message in found if message.qos == qos]
        assert of_qos == expected[qos - 1 :: 2], of_qos
    bob.quit()
    bob = Client(b, prefix + "bob", clean=True)
    assert not bob.session_present
    bob.quit()
    bob = Client(b, prefix + "bob", clean=False)
    assert not bob.session_present
    bob.quit()
    alice.quit()


def check_session_moves_to_the_other_node(prefix, a, b):
    bob = Client(a, prefix + "bob", clean=False, filters=[(prefix + "#", 2)])
    bob.quit()
    alice = Client(a, prefix + "alice")
    alice.publish(prefix + "t", "on node-1", 2)
    bob = Client(b, prefix + "bob", clean=False)
    assert bob.session_present
    bob.expect("on node-1")
    alice.publish(prefix + "t", "now on node-2", 2)
    bob.expect("now on node-2")
    bob.quit()
    alice.quit()


def check_retained(prefix, a, b):
    alice = Client(a, prefix + "alice")
    for value in ("old", "new"):
        alice.publish(prefix + "t", value, 1, True)
    for port in (a, b):
        bob = Client(port, prefix + "bob", filters=[(prefix + "#", 1)])
        message = bob.message()
        assert message.retain and message.payload == b"new"
        bob.quit()
    alice.publish(prefix + "t", None, 1, True)
    bob = Client(b, prefix + "bob", filters=[(prefix + "#", 1)])
    alice.publish(prefix + "other", "live")
    message = bob.message()
    assert not message.retain and message.payload == b"live"
    bob.quit()
    alice.quit()


def check_will(prefix, a, b):
    bob = Client(b, prefix + "bob", filters=[(prefix + "will/#", 2)])
    polite = Client(a, prefix + "polite", will=(prefix + "will/no", "no", 2, False))
    polite.quit()
    for qos in (0, 1, 2):
        rude = Client(a, prefix + f"rude{qos}", will=(prefix + "will/yes", f"{qos}", qos, True))
        rude.vanish()
        message = bob.message()
        assert (message.payload, message.qos) == (f"{qos}".encode(), qos)
    late = Client(b, prefix + "late", filters=[(prefix + "will/#", 2)])
    message = late.message()
    assert message.retain and message.payload == b"2"
    late.quit()
    bob.quit()


def check_takeover(prefix, a, b):
    first = Client(a, prefix + "bob")
    second = Client(b, prefix + "bob")
    assert first.ended.wait(PATIENCE), "the first is still connected"
    first.paho.loop_stop()
    second.subscribe(prefix + "t", 1)
    second.publish(prefix + "t", "mine")
    second.expect("mine")
    second.quit()


def check_keep_alive(prefix, a, b):
    bob = Client(b, prefix + "bob", filters=[(prefix + "t", 1)], keepalive=2)
    alice = Client(a, prefix + "alice")
    time.sleep(4.5)  # pacing: longer than the server waits for one who says nothing
    assert not bob.ended.is_set()
    alice.publish(prefix + "t", "still here")
    bob.expect("still here")
    bob.quit()
    alice.quit()


def check_large_and_empty_payloads(prefix, a, b):
    bob = Client(b, prefix + "bob", filters=[(prefix + "t", 2)])
    alice = Client(a, prefix + "alice")
    large = bytes(range(256)) * 4096
    alice.publish(prefix + "t", large, 2)
    assert bob.message().payload == large
    alice.publish(prefix + "t", b"", 2)
    assert bob.message().payload == b""
    alice.quit()
    bob.quit()


def check_inbox(prefix, a, b):
    name = prefix.rstrip("/") + "-bob"
    bob = Client(b, name)
    alice = Client(a, prefix + "alice")
    alice.publish(f"user/{name}/alice", "hi")
    bob.expect("hi")
    alice.quit()
    bob.quit()


def check_reconnect_sends_again_what_was_not_answered(prefix, a, b):
    """Paho keeps what it has sent over its own reconnects."""
    bob = Client(b, prefix + "bob", filters=[(prefix + "t", 2)])
    alice = Client(a, prefix + "alice", clean=False)
    numbers = [str(number) for number in range(30)]
    sent = []
    for number, payload in enumerate(numbers):
        sent.append(alice.paho.publish(prefix + "t", payload, 2))
        if number % 10 == 5:
            alice.connected.clear()
            alice.paho._sock.shutdown(2)
            assert alice.connected.wait(PATIENCE), "no second CONNACK"
            assert alice.session_present
    for one in sent:
        one.wait_for_publish(PATIENCE)
    found = sorted(int(bob.message().payload) for _ in numbers)
    assert found == sorted(map(int, numbers)), found
    alice.publish(prefix + "t", "end", 2)
    bob.expect("end")
    alice.quit()
    bob.quit()


def main():
    a, b = int(sys.argv[1]), int(sys.argv[2])
    checks = {name: check for name, check in globals().items() if name.startswith("check_")}
    chosen = sys.argv[3:] or list(checks)
    failed = []
    one_line = threading.Lock()

    def tell(line):
        # `print` writes a line and its end apart: another thread's line could come between.
        with one_line:
            print(line, flush=True)

    def run(number, name):
        try:
            checks[name](f"paho{number}/", a, b)
            tell(f"ok {name}")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1].lineno
            tell(f"FAILED {name}: line {where}: {error!r}")
            failed.append(name)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(chosen)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(1 if failed else 0)


main()
