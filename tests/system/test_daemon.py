#!/usr/bin/env python3
"""sorad as its owner meets it: start, refusals, signals, and farms of two and three daemons.

Usage: test_daemon.py SORAD SORACTL [TEST...]
Loopback, free ports, temporary folders; Python's standard library only.
"""
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

SORAD, SORACTL = sys.argv[1], sys.argv[2]
WAIT_SECONDS = 30


def wait_until(condition, seconds=WAIT_SECONDS):
    """The condition's first true value; None when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    return None


class Daemon:
    """A sorad with a state folder of its own; without options it is a home that does not render."""

    def __init__(self, folder, name, *options):
        self.state = os.path.join(folder, name)
        self.options = ["--state", self.state, "--name", name, "--listen", "127.0.0.1",
                        "--control-port", "0", "--bulk-port", "0", "--invite-port", "0",
                        *(options or ("--roles", "scheduler"))]
        self.log_path = self.state + ".log"
        self.process = None
        self.start()

    def start(self):
        marker = len(self.log())
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([SORAD] + self.options, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=environment())
        ready = wait_until(lambda: "ready name=" in self.log()[marker:] or
                           self.process.poll() is not None)
        assert ready and self.process.poll() is None, self.log()

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def end(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(WAIT_SECONDS)

    def ctl(self, *words):
        return subprocess.run([SORACTL, *words], capture_output=True, text=True, timeout=60,
                              env=environment(SORAFARM_STATE=self.state), check=False)

    def code(self):
        done = self.ctl("farm", "invite")
        found = re.search(r"farm1-[a-z2-7-]+", done.stdout)
        assert found, done
        return found.group(0)

    def members(self):
        """Name to whole line."""
        lines = self.ctl("farm", "members").stdout.splitlines()
        return {line.split()[1]: line for line in lines if re.match(r"[0-9a-f]{8} ", line)}

    def sees(self, *names):
        """Whether exactly these are connected, this daemon among them."""
        return {n for n, line in self.members().items() if " connected " in line} == set(names)


def environment(**more):
    """Nothing of the machine's own configuration."""
    kept = {name: os.environ[name] for name in ("PATH", "NOTIFY_SOCKET") if name in os.environ}
    return {"HOME": "/nonexistent", **kept, **more}


def run(*options):
    return subprocess.run([SORAD, *options], capture_output=True, text=True, timeout=60,
                          env=environment(), check=False)


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sora-daemon-")
        self.addCleanup(shutil.rmtree, self.folder)

    def daemon(self, name, *options):
        daemon = Daemon(self.folder, name, *options)
        self.addCleanup(daemon.end, signal.SIGKILL)
        return daemon

    def path(self, name):
        return os.path.join(self.folder, name)

    def join(self, host, *guests):
        for guest in guests:
            done = guest.ctl("farm", "join", host.code())
            self.assertEqual(done.returncode, 0, done.stderr)

    def assert_seen(self, daemons, *names):
        for daemon in daemons:
            self.assertTrue(wait_until(lambda d=daemon: d.sees(*names)), daemon.members())


class Start(Folder):
    def test_help_version_and_check(self):
        self.assertIn("--control-port", run("--help").stdout)
        self.assertRegex(run("--version").stdout, r"^sorad \d")
        for words in (["--version"], ["version"], ["help"], ["help", "farm", "invite"]):
            done = subprocess.run([SORACTL, *words], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        done = run("--check-config", "--name", "brook")
        self.assertEqual(done.returncode, 0)
        self.assertIn("name: brook", done.stdout)

    def test_bad_input_is_one_line_and_status_2(self):
        with open(self.path("sorad.yaml"), "w", encoding="utf-8") as file:
            file.write("contrl_port: 9000\n")
        for options, says in ((["--config", self.path("sorad.yaml")], "control_port"),
                              (["--config", self.path("none.yaml")], "none.yaml"),
                              (["--hours", "9 to 5"], "19:00-08:00"),
                              (["--lisen", "127.0.0.1"], "--listen"),
                              (["here"], "here")):
            done = run(*options)
            self.assertEqual(done.returncode, 2, options)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(says, done.stderr)

    def test_a_state_of_a_newer_version_is_refused(self):
        daemon = self.daemon("brook")
        daemon.end(signal.SIGTERM)
        with open(os.path.join(daemon.state, "version"), "w", encoding="utf-8") as file:
            file.write("sorafarm-state 9\n")
        done = run(*daemon.options)
        self.assertEqual(done.returncode, 1)
        self.assertIn("its version is 9", done.stderr)

    def test_a_state_or_port_in_use_is_said(self):
        daemon = self.daemon("brook")
        done = run(*daemon.options)
        self.assertEqual(done.returncode, 1)
        self.assertIn("another sorad (process %d)" % daemon.process.pid, done.stderr)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = run("--state", self.path("heath"), "--listen", "127.0.0.1",
                       "--control-port", str(port), "--bulk-port", "0", "--invite-port", "0")
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(port), done.stderr)
        self.assertIn("another", done.stderr.splitlines()[-1])

    def test_a_folder_with_other_things_is_left_alone(self):
        os.mkdir(self.path("photos"))
        with open(self.path("photos/one.txt"), "w", encoding="utf-8") as file:
            file.write("1")
        done = run("--state", self.path("photos"), "--listen", "127.0.0.1")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(os.listdir(self.path("photos")), ["one.txt"])


class Alone(Folder):
    def test_it_serves_its_user_at_once_and_ends_on_sigterm(self):
        daemon = self.daemon("brook")
        self.assertTrue(daemon.sees("brook"))
        began = time.monotonic()
        self.assertEqual(daemon.end(signal.SIGTERM), 0)
        self.assertLess(time.monotonic() - began, 5)
        done = daemon.ctl("nodes")
        self.assertNotEqual(done.returncode, 0)

    def test_systemd_is_told(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(self.path("notify"))
            notify.settimeout(WAIT_SECONDS)
            os.environ["NOTIFY_SOCKET"] = self.path("notify")
            self.addCleanup(os.environ.pop, "NOTIFY_SOCKET", None)
            daemon = self.daemon("brook")
            self.assertEqual(notify.recv(4096), b"READY=1")
            self.assertTrue(notify.recv(4096).startswith(b"STATUS="))
            daemon.end(signal.SIGTERM)
            said = b""
            while said != b"STOPPING=1":
                said = notify.recv(4096)

    def test_doctor_finds_the_door_closed(self):
        done = self.daemon("brook").ctl("doctor")
        self.assertRegex(done.stdout, r"(?m)^ok +door ")
        self.assertRegex(done.stdout, r"(?m)^ok +keys ")

    def test_its_state_is_the_owners_alone(self):
        daemon = self.daemon("brook")
        blobs = os.path.join(daemon.state, "**", "[0-9a-f]" * 64)
        self.assertTrue(wait_until(lambda: glob.glob(blobs, recursive=True)))  # mini's manifest
        for folder, _, files in os.walk(daemon.state):
            self.assertEqual(os.stat(folder).st_mode & 0o77, 0, folder)
            for name in files:
                self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o77, 0, name)

    def test_other_credentials_are_refused(self):
        brook, heath = self.daemon("brook"), self.daemon("heath")
        # heath's user knocks at brook.
        shutil.copy(os.path.join(brook.state, "ctl/endpoint"),
                    os.path.join(heath.state, "ctl/endpoint"))
        shutil.copy(os.path.join(brook.state, "ctl/server.certificate"),
                    os.path.join(heath.state, "ctl/server.certificate"))
        self.assertNotEqual(heath.ctl("nodes").returncode, 0)


class Farm(Folder):
    def test_three_join_and_one_is_revoked(self):
        brook, heath, fen = (self.daemon(n) for n in ("brook", "heath", "fen"))
        self.join(brook, heath, fen)
        self.assert_seen((brook, heath, fen), "brook", "heath", "fen")
        began = time.monotonic()
        self.assertEqual(brook.ctl("farm", "revoke", "fen").returncode, 0)
        self.assertTrue(wait_until(lambda: fen.sees("fen")))
        self.assertTrue(wait_until(lambda: heath.sees("brook", "heath")))
        self.assertLess(time.monotonic() - began, 1)
        # A restart does not bring it back.
        self.assertEqual(fen.end(signal.SIGTERM), 0)
        fen.start()
        self.assertIsNone(wait_until(lambda: not fen.sees("fen"), 1))
        self.assertTrue(heath.sees("brook", "heath"))

    def test_a_code_is_good_once(self):
        brook, heath, fen = (self.daemon(n) for n in ("brook", "heath", "fen"))
        code = brook.code()
        self.assertEqual(heath.ctl("farm", "join", code).returncode, 0)
        done = fen.ctl("farm", "join", code)
        self.assertEqual(done.returncode, 3, done.stderr)

    def test_kill_and_restart_keep_the_membership(self):
        brook, heath = self.daemon("brook"), self.daemon("heath")
        self.join(brook, heath)
        # No pause: what was answered is on disk.
        heath.end(signal.SIGKILL)
        brook.end(signal.SIGKILL)
        heath.start()
        brook.start()
        self.assertIn("heath", brook.members())
        self.assertIn("brook", heath.members())
        # Ports are others after each start; a static address helps them to meet.
        with open(os.path.join(brook.state, "ctl/endpoint"), encoding="utf-8") as file:
            address = file.read().strip().replace("tcp://", "")
        heath.end(signal.SIGKILL)
        heath.options += ["--peers", address]
        heath.start()
        self.assert_seen((brook, heath), "brook", "heath")
        # From here each knows where the other is, and one restart is bridged without help.
        heath.end(signal.SIGTERM)
        heath.options = heath.options[:-2]
        heath.start()
        self.assert_seen((brook, heath), "brook", "heath")

    def test_an_uninvited_guest_changes_nothing(self):
        brook, heath = self.daemon("brook"), self.daemon("heath")
        code = brook.code()
        broken = code[:-1] + ("a" if code[-1] != "a" else "b")
        self.assertEqual(heath.ctl("farm", "join", broken).returncode, 2)
        self.assertTrue(heath.sees("heath"))
        self.assertEqual(list(brook.members()), ["brook"])


class Render(Folder):
    """Minutes with sanitizers, so tests/system/CMakeLists.txt leaves it out there."""

    def test_a_node_that_is_stopped_hands_its_shard_over(self):
        brook, heath = (self.daemon(n, "--devices", "cpu0:threads=1") for n in ("brook", "heath"))
        self.join(brook, heath)
        self.assert_seen((brook, heath), "brook", "heath")
        self.assertTrue(wait_until(lambda: "on 2 nodes" in brook.ctl("models").stdout))
        video = self.path("out.mp4")
        with subprocess.Popen([SORACTL, "submit", "--prompt", "a red balloon over the sea",
                               "--seconds", "8", "--wait", "-o", video],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env=environment(SORAFARM_STATE=brook.state)) as submit:
            self.addCleanup(submit.kill)
            self.assertTrue(wait_until(lambda: "shard begins" in heath.log()), brook.log())
            self.assertEqual(heath.end(signal.SIGTERM), 0)
            self.assertIn("draining", heath.log())
            self.assertEqual(submit.wait(120), 0, brook.log())
        with open(video, "rb") as file:
            self.assertEqual(file.read(8)[4:], b"ftyp")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
