"""A connection's handshake, beats and credit."""

import pytest

from mattebridge import messages as m
from mattebridge_server.broker.effects import Peer
from mattebridge_server.broker.session import UPLOAD_CREDIT_BYTES, Sessions

ANN = Peer("ipc", b"ann")
BOB = Peer("ipc", b"bob")


@pytest.fixture
def sessions():
    return Sessions(m.Welcome(1, 0, "boot"), beat_s=2.0, beats_lost=3)


@pytest.mark.parametrize(
    ("major", "minor", "answer"),
    [(1, 0, m.Welcome), (1, 9, m.Welcome), (0, 9, m.Incompatible), (2, 0, m.Incompatible), (-1, 0, m.Incompatible)],
)
def test_hello_is_answered_by_version(sessions, major, minor, answer):
    assert isinstance(sessions.hello(0.0, ANN, m.Hello(major, minor), False), answer)
    assert (sessions.find(ANN) is not None) == (answer is m.Welcome)


def test_the_refusal_says_who_has_to_be_brought_up_to_date(sessions):
    assert "bring the client up" in sessions.hello(0.0, ANN, m.Hello(0, 1), False).message
    assert "bring the server up" in sessions.hello(0.0, ANN, m.Hello(2, 1), False).message


def test_silence_is_pinged_once_a_beat_and_lost_after_three(sessions):
    sessions.hello(0.0, ANN, m.Hello(1, 0), False)
    sessions.hello(0.0, BOB, m.Hello(1, 0), False)
    assert sessions.tick(1.9) == ([], [])
    sessions.heard(1.9, BOB)
    assert sessions.tick(2.0) == ([(ANN, m.Ping(1))], [])
    assert sessions.tick(2.5) == ([], [])
    assert sessions.tick(4.0)[0] == [(ANN, m.Ping(2)), (BOB, m.Ping(1))]
    assert sessions.tick(6.0)[1] == [ANN]
    sessions.remove(ANN)
    assert sessions.heard(6.0, ANN) is None
    assert sessions.heard(6.0, BOB) is not None


def test_credit_is_granted_once_and_never_overspent(sessions):
    sessions.hello(0.0, ANN, m.Hello(1, 0), False)
    session = sessions.find(ANN)
    assert not session.spend("job", 1)
    assert session.grant_uploads("job") == UPLOAD_CREDIT_BYTES
    assert session.spend("job", UPLOAD_CREDIT_BYTES - 10)
    assert session.grant_uploads("job") == 10
    assert not session.spend("job", 11)
    assert session.spend("job", 10)


def test_a_second_hello_voids_credit_and_jobs(sessions):
    sessions.hello(0.0, ANN, m.Hello(1, 0), False)
    sessions.find(ANN).grant_uploads("job")
    sessions.find(ANN).keys.add("job")
    sessions.hello(1.0, ANN, m.Hello(1, 0), False)
    assert sessions.find(ANN).upload_credit == {}
    assert sessions.find(ANN).keys == set()


def test_another_user_at_the_same_address_is_not_the_same_connection(sessions):
    sessions.hello(0.0, ANN, m.Hello(1, 0), True)
    thief = Peer("ipc", b"ann", user="thief")
    assert sessions.find(thief) is None
    assert sessions.displaced(thief) == ANN
    assert sessions.displaced(ANN) is None
    sessions.remove(ANN)
    assert sessions.displaced(thief) is None


def test_jobs_count_together_for_one_process_of_one_user(sessions):
    for peer, pid in ((ANN, 7), (BOB, 7)):
        sessions.hello(0.0, peer, m.Hello(1, 0, user="x", host="h", pid=pid), False)
    assert sessions.find(ANN).client == sessions.find(BOB).client
    sessions.hello(0.0, BOB, m.Hello(1, 0, user="x", host="h", pid=8), False)
    assert sessions.find(ANN).client != sessions.find(BOB).client
