"""A program's folder: it writes and reads files there as anywhere, finds what it was given, and leaves nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence

import pytest

from selftaught.sandbox import Ending, FunctionTask, Limits, Program, Run, StdioTask, Task, Verifier
from tests.conftest import open_verifier

MIB = 1 << 20


@pytest.fixture(scope="module")
def restricted() -> Iterator[Verifier]:
    with open_verifier("restricted", engine="fork") as made:
        yield made


def run(
    verifier: Verifier, code: str, files: Mapping[str, bytes] | None = None, fetch: Sequence[str] = (), stdin: str = ""
) -> Run:
    limits = Limits(cpu_seconds=10, wall_seconds=30)
    return verifier.run(Program("p", code, stdin, limits, files or {}, fetch))


def output(verifier: Verifier, code: str, **options: object) -> str:
    """What a program prints, which must end with exit code 0."""
    found = run(verifier, code, **options)  # type: ignore[arg-type]
    assert (found.ending, found.return_code, found.stderr) == (Ending.EXITED, 0, ""), found
    return found.stdout


ASSERTIONS = {
    "its folder has the program alone": "assert os.listdir('.') == ['main.py'] == os.listdir()",
    "the program's text": "assert open('main.py').read().startswith('import os')",
    "write and read": "open('a', 'w').write('hello'); assert open('a').read() == 'hello'",
    "by the path of the folder": "open(os.path.join(os.getcwd(), 'a'), 'w').close(); assert os.path.exists('a')",
    "append": "for i in range(3): print(i, file=open('a', 'a'))\nassert open('a').read() == '0\\n1\\n2\\n'",
    "read and write": "f = open('a', 'w+'); f.write('abc'); f.seek(0); assert f.read() == 'abc'",
    "exclusive": "open('a', 'x')\ntry: open('a', 'x')\nexcept FileExistsError: pass\nelse: assert False",
    "missing": "try: open('nothing')\nexcept FileNotFoundError: pass\nelse: assert False",
    "unbuffered": "f = open('a', 'wb', buffering=0); f.write(b'ab'); assert os.fstat(f.fileno()).st_size == 2",
    "truncate": "f = open('a', 'w'); f.write('abc'); f.truncate(2); f.close(); assert os.path.getsize('a') == 2",
    "replace": "open('a', 'w').write('1'); os.replace('a', 'b'); assert open('b').read() == '1'",
    "rename to a folder": "os.mkdir('d'); open('a', 'w'); os.rename('a', 'd/b'); assert os.listdir('d') == ['b']",
    "folders": "os.makedirs('d/e/f'); os.removedirs('d/e/f'); assert not os.path.exists('d')",
    "remove": "open('a', 'w'); os.remove('a'); assert not os.path.exists('a')",
    "other folder": "os.mkdir('d'); os.chdir('d'); open('a', 'w'); os.chdir('..'); assert os.path.exists('d/a')",
    "symbolic link": "open('a', 'w').write('1'); os.symlink('a', 'b'); assert open('b').read() == '1'",
    "hard link": "open('a', 'w').write('1'); os.link('a', 'b'); assert os.stat('a').st_nlink == 2",
    "named temporary file": "with tempfile.NamedTemporaryFile('w+') as f: f.write('1'); assert os.path.exists(f.name)",
    "temporary file": "with tempfile.TemporaryFile() as f: f.write(b'1'); f.seek(0); assert f.read() == b'1'",
    "temporary folder": (
        "with tempfile.TemporaryDirectory() as d: open(d + '/a', 'w'); assert os.listdir(d) == ['a']\n"
        "assert not os.path.exists(d)"
    ),
    "mkstemp": "fd, path = tempfile.mkstemp(); os.write(fd, b'1'); os.close(fd); assert open(path).read() == '1'",
    "spooled": "with tempfile.SpooledTemporaryFile(2) as f: f.write(b'abc'); f.seek(0); assert f.read() == b'abc'",
    "sqlite3": (
        "import sqlite3\nfor i in range(2):\n    c = sqlite3.connect('a.db')\n"
        "    c.execute('create table if not exists t(x)'); c.execute('insert into t values(?)', (i,))\n"
        "    c.commit(); c.close()\n"
        "assert list(sqlite3.connect('a.db').execute('select x from t')) == [(0,), (1,)]"
    ),
    "shelve": "import shelve\nwith shelve.open('s') as s: s['a'] = 1\nwith shelve.open('s') as s: assert s['a'] == 1",
    "zipfile": (
        "import zipfile\nwith zipfile.ZipFile('a.zip', 'w') as z: z.writestr('b', 'text')\n"
        "with zipfile.ZipFile('a.zip') as z: z.extractall('out')\nassert open('out/b').read() == 'text'"
    ),
    "tarfile": (
        "import tarfile\nopen('a', 'w').write('1')\nwith tarfile.open('a.tgz', 'w:gz') as t: t.add('a')\n"
        "with tarfile.open('a.tgz') as t: assert t.getnames() == ['a']"
    ),
    "gzip": "import gzip\ngzip.open('a.gz', 'wt').write('text')\nassert gzip.open('a.gz', 'rt').read() == 'text'",
    "csv": (
        "import csv\nwith open('a.csv', 'w', newline='') as f: csv.writer(f).writerows([[1, 2], [3, 4]])\n"
        "assert [*csv.reader(open('a.csv'))] == [['1', '2'], ['3', '4']]"
    ),
    "json": "import json\njson.dump({'a': 1}, open('a', 'w'))\nassert json.load(open('a')) == {'a': 1}",
    "pickle": "import pickle\npickle.dump({1}, open('a', 'wb'))\nassert pickle.load(open('a', 'rb')) == {1}",
    "configparser": (
        "import configparser\nc = configparser.ConfigParser(); c['a'] = {'b': '1'}; c.write(open('i', 'w'))\n"
        "c = configparser.ConfigParser(); c.read('i'); assert c['a']['b'] == '1'"
    ),
    "logging": "import logging\nlogging.basicConfig(filename='l'); logging.error('x'); assert 'x' in open('l').read()",
    "pathlib": (
        "from pathlib import Path\nPath('d').mkdir(); p = Path('d/a'); p.write_text('x'); assert p.read_text() == 'x'\n"
        "assert [*Path('.').rglob('a')] == [p]; p.touch(); p.unlink(); Path('d').rmdir()"
    ),
    "shutil": (
        "import shutil\nos.mkdir('d'); open('d/a', 'w').write('x'); shutil.copytree('d', 'e')\n"
        "shutil.copy('e/a', 'b'); shutil.copy2('b', 'c'); shutil.move('c', 'f'); shutil.rmtree('d')\n"
        "assert open('f').read() == 'x'\n"
        "shutil.copyfile('f', 'g'); assert sorted(os.listdir()) == ['b', 'e', 'f', 'g', 'main.py']"
    ),
    "archives": "import shutil\nos.mkdir('d'); shutil.make_archive('z', 'zip', 'd'); assert os.path.exists('z.zip')",
    "fileinput": "import fileinput\nopen('a', 'w').write('x')\nassert [*fileinput.input(['a'])] == ['x']",
    "mapped": (
        "import mmap\nopen('a', 'wb').write(b'0123'); f = open('a', 'r+b')\n"
        "m = mmap.mmap(f.fileno(), 0); m[0:1] = b'x'; m.flush(); m.close(); assert open('a').read() == 'x123'"
    ),
    "scandir": "open('a', 'w'); assert sorted(e.name for e in os.scandir()) == ['a', 'main.py']",
    "walk": "os.makedirs('d/e'); assert [r for r, *_ in os.walk('.')] == ['.', './d', './d/e']",
    "glob": "import glob\nopen('a.txt', 'w'); assert glob.glob('*.txt') == ['a.txt']",
    "times and rights": "open('a', 'w'); os.utime('a', (1, 2)); os.chmod('a', 0o600); os.umask(0o22)",
    "synchronised": "f = open('a', 'w'); f.write('x'); f.flush(); os.fsync(f.fileno()); os.fdatasync(f.fileno())",
    "positioned": "f = os.open('a', os.O_RDWR | os.O_CREAT); os.pwrite(f, b'x', 3); assert os.pread(f, 2, 3) == b'x'",
    "locks": (
        "import fcntl\nf = open('a', 'w'); fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_EX); "
        "fcntl.flock(f, fcntl.LOCK_UN)"
    ),
    "a module": (
        "open('mine.py', 'w').write('X = 7')\nimport sys; sys.path.insert(0, os.getcwd()); import mine\n"
        "assert mine.X == 7"
    ),
    "thirty megabytes": "for i in range(5): open(f'{i}', 'wb').write(bytes(6 << 20))\nassert os.path.exists('4')",
    "names of users": "assert os.path.expanduser('~/a') and os.path.expanduser('~nobody-known/a')",
    "null": "assert open('/dev/null').read() == ''; open(os.devnull, 'w').write('x')",
    "zero": "assert open('/dev/zero', 'rb').read(3) == bytes(3)",
    "random devices": "assert len(open('/dev/urandom', 'rb').read(9)) == 9 == len(open('/dev/random', 'rb').read(9))",
    "full": "try: open('/dev/full', 'wb', buffering=0).write(b'x')\nexcept OSError as error: assert error.errno == 28",
}


@pytest.mark.parametrize("code", [pytest.param(code, id=name.replace(" ", "_")) for name, code in ASSERTIONS.items()])
def test_files_are_what_they_are_elsewhere(verifier: Verifier, code: str) -> None:
    assert output(verifier, f"import os, tempfile\n{code}\nprint('reached')") == "reached\n"


def test_the_folder_is_tmp_where_it_is_mounted(verifier: Verifier) -> None:
    folder = output(verifier, "import os\nprint(os.getcwd())").strip()
    assert folder == "/tmp" or (verifier.level == "restricted" and "selftaught-scratch-" in folder)


LEFT = {
    "a file": "open('left', 'w').write('x')",
    "a deep tree": (
        "import os\nfor i in range(300):\n    try: os.mkdir('d'); os.chdir('d')\n    except OSError: break\n"
        "open('end', 'w') if i == 299 else 0"
    ),
    "odd names": (
        "import os\nfor name in (b'\\xff', b'\\n', b'-rf', b' ', b'a' * 255, b'1', b'2'): os.makedirs(name + b'/1/2')"
    ),
    "what nobody may read": (
        "import os\nos.makedirs('d/e/f'); open('d/e/g', 'w')\nfor each in ('d/e/g', 'd/e', 'd', '.'):\n"
        "    try: os.chmod(each, 0)\n    except PermissionError: pass"
    ),
    "folders without rights": "import os\nos.mkdir('d', 0o300); os.mkdir('d/e', 0); os.mkdir('f', 0o100)",
    "links": "import os\nos.symlink('/', 'root'); os.symlink('a', 'a'); os.link('main.py', 'b'); os.symlink('..', 'd')",
    "not even the program": "import os\nos.remove('main.py')",
    "a folder in place of the program": "import os\nos.remove('main.py'); os.makedirs('main.py/a')",
    "an open file": "f = open('a', 'w'); import os; os.remove('a'); f.write('x' * 100000); f.flush(); os._exit(3)",
    "an endless loop": "open('left', 'w')\nwhile True: pass",
    "a crash": "open('left', 'w'); import ctypes; ctypes.string_at(1)",
    "a forbidden call": "open('left', 'w'); import os; os.fork()",
}


@pytest.mark.parametrize("code", [pytest.param(code, id=name.replace(" ", "_")) for name, code in LEFT.items()])
def test_nothing_is_left_for_the_next_program(verifier: Verifier, code: str) -> None:
    look = (
        "import os\nhere = os.stat('.')\nprint(os.listdir('.'), oct(here.st_mode), here.st_nlink, here.st_size < 4097)"
    )
    before = output(verifier, look)
    restarts = verifier.restarts
    verifier.run(Program("p", code, limits=Limits(cpu_seconds=1)))
    assert output(verifier, look) == before == f"['main.py'] {oct(0o40700)} 2 True\n"
    assert verifier.restarts == restarts


@pytest.mark.parametrize(
    "target", ["0", "os.open('code', os.O_RDONLY)", "os.open('code', os.O_RDWR)", "os.open('/dev/zero', os.O_RDONLY)"]
)
def test_no_content_of_a_program_is_mapped_as_code(verifier: Verifier, target: str) -> None:
    code = (
        "import mmap, os\nopen('code', 'wb').write(bytes(4096))\nprint('before', flush=True)\n"
        f"mmap.mmap({target}, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)\nprint('mapped')"
    )
    if verifier.level == "container" and "/dev/zero" in target:
        pytest.skip("the container's own device, which holds nothing but zeros, is not on a mount of ours")
    found = run(verifier, code, stdin="x" * 4096)
    assert found.stdout == "before\n", found
    assert found.ending is Ending.FORBIDDEN or "PermissionError" in found.stderr


def test_a_folder_that_is_full_is_an_error_of_the_program_alone(verifier: Verifier) -> None:
    code = (
        "import errno, os\nwritten, seen = 0, None\n"
        "for i in range(2000):\n"
        "    try:\n"
        "        with open(f'{i}', 'wb', buffering=0) as f:\n"
        "            while f.tell() < 4 << 20: written += f.write(bytes(1 << 20))\n"
        "    except OSError as error: seen = error.errno; break\n"
        "print(errno.errorcode.get(seen), written >> 20)"
    )
    name, size = output(verifier, code).split()
    assert name == "ENOSPC"
    assert 60 <= int(size) <= 72
    assert output(verifier, "open('a', 'wb').write(bytes(6 << 20)); print('there is room again')")


def test_a_sparse_file_is_as_large_as_it_claims(verifier: Verifier) -> None:
    code = (
        "import errno\nf = open('a', 'wb')\nfor size in (1 << 40, 1 << 60):\n"
        "    for attempt in (lambda: f.truncate(size), lambda: (f.seek(size), f.write(b'x'), f.flush())):\n"
        "        try: attempt(); print('done')\n        except OSError as error: print(errno.errorcode[error.errno])\n"
        "f.detach().close() if False else None"
    )
    found = run(verifier, code)
    assert {*found.stdout.split()} <= {"EFBIG", "ENOSPC", "EINVAL"} and found.stdout, found


@pytest.mark.parametrize("make", ["open(f'd/{i}', 'w').close()", "os.mkdir(f'd/{i}')", "os.symlink('x', f'd/{i}')"])
def test_a_flood_of_files_ends_at_a_thousand(verifier: Verifier, make: str) -> None:
    code = (
        "import errno, os\nos.mkdir('d')\ntry:\n"
        f"    for i in range(100_000): {make}\n"
        "except OSError as error: print(errno.errorcode[error.errno], i)"
    )
    found = verifier.run(Program("p", code, limits=Limits(cpu_seconds=20, wall_seconds=60)))
    name, number = found.stdout.split()
    assert name == "ENOSPC" and 900 < int(number) <= 1000, found


def test_a_program_with_many_files_pays_little_for_the_looks_at_its_folder(verifier: Verifier) -> None:
    code = "for i in range(900): open(f'{i}', 'w').close()\nfor i in range(2000): open('0', 'a').close()\nprint('done')"
    found = run(verifier, code)
    assert found.stdout == "done\n" and found.usage.cpu_seconds < 0.8, found


def test_what_is_in_a_full_folder_can_be_removed(restricted: Verifier) -> None:
    code = (
        "import errno, os\nwith open('a', 'wb') as f: f.write(bytes(7 << 20))\nopen_now = [open(f'{i}', 'wb') for i in "
        "range(12)]\nfor f in open_now: f.write(bytes(7 << 20)); f.close()\nimport time; time.sleep(0.1)\n"
        "try: open('b', 'w')\nexcept OSError as error: print(errno.errorcode[error.errno])\n"
        "for i in range(12): os.remove(f'{i}')\ntime.sleep(0.1); open('b', 'w').close(); print(sorted(os.listdir('.')))"
    )
    assert output(restricted, code) == "ENOSPC\n['a', 'b', 'main.py']\n"


def test_files_outside_can_not_be_reached_by_links(verifier: Verifier) -> None:
    code = (
        "import os\nos.symlink('/etc/passwd', 'soft'); os.symlink('/', 'root')\nfor attempt in (\n"
        "    lambda: open('soft').read(), lambda: open('soft', 'a'), lambda: os.listdir('root'),\n"
        "    lambda: os.link('/etc/passwd', 'hard'), lambda: os.link(os.__file__, 'hard'),\n"
        "    lambda: open('root/x', 'w'),\n"
        "    lambda: os.rename(os.__file__, 'b'), lambda: os.truncate(os.__file__, 0),\n"
        "    lambda: os.unlink(os.__file__), lambda: open(os.__file__, 'a'),\n"
        "    lambda: os.close(os.open(os.__file__, os.O_RDONLY | os.O_TRUNC)),\n"
        "    lambda: os.replace('soft', os.path.dirname(os.__file__) + '/soft'), lambda: os.mkdir('../out'),\n"
        "    lambda: os.rename('root', '../out'), lambda: os.rmdir('.')):\n"
        "    try: attempt(); print('done')\n    except OSError: pass"
    )
    found = run(verifier, code, fetch=["soft", "hard", "root/etc/passwd", "root"])
    assert (found.stdout, found.stderr, found.files) == ("", "", {})


def test_rights_times_and_attributes_of_other_files_stay(verifier: Verifier) -> None:
    code = (
        "import os\nbefore = os.stat(os.__file__)\nfor attempt in (\n"
        "    lambda: os.chmod(os.__file__, 0o777), lambda: os.utime(os.__file__, (1, 1)),\n"
        "    lambda: os.chown(os.__file__, 1, 1), lambda: os.setxattr(os.__file__, 'user.a', b'x'),\n"
        "    lambda: os.fchmod(os.open(os.__file__, os.O_RDONLY), 0), lambda: os.utime('/dev/null')):\n"
        "    try: attempt()\n    except OSError: pass\n"
        "after = os.stat(os.__file__)\n"
        "print(all(getattr(before, at) == getattr(after, at) for at in ('st_mode', 'st_mtime', 'st_uid', 'st_ctime')))"
    )
    assert output(verifier, code) == "True\n"


@pytest.mark.parametrize("call", ["os.mkfifo('f')", "os.mknod('f')", "os.mknod('n', 0o20666, os.makedev(1, 3))"])
def test_pipes_and_devices_can_not_be_made(verifier: Verifier, call: str) -> None:
    found = run(verifier, f"import os\n{call}\nprint('made')")
    assert found.ending is Ending.FORBIDDEN and not found.stdout and "mknod" in found.message


def test_files_that_are_given_are_there_and_those_to_fetch_come_back(verifier: Verifier) -> None:
    code = (
        "import os\nprint(sorted(os.listdir('.')), open('data/in.csv').read())\n"
        "open('data/in.csv', 'a').write('!'); open('out.bin', 'wb').write(bytes(range(256))); os.mkdir('empty')\n"
        "os.symlink('out.bin', 'link'); open('secret', 'w').write('x')"
    )
    fetch = ["out.bin", "data/in.csv", "nothing", "empty", "link", "data/none/x", "main.py"]
    found = run(verifier, code, {"data/in.csv": b"1,2", "données.txt": b"x"}, fetch)
    assert found.stdout == "['data', 'donn\u00e9es.txt', 'main.py'] 1,2\n", found
    assert found.files == {"out.bin": bytes(range(256)), "data/in.csv": b"1,2!", "main.py": code.encode()}


def test_files_come_back_also_if_the_program_hits_a_limit(verifier: Verifier) -> None:
    code = "open('a', 'w').write('so far')\nwhile True: pass"
    found = verifier.run(Program("p", code, limits=Limits(cpu_seconds=0.3), fetch=["a"]))
    assert (found.ending, found.files) == (Ending.TIME_LIMIT, {"a": b"so far"})


def test_large_files_travel_both_ways(verifier: Verifier) -> None:
    content = bytes(range(256)) * (20 * MIB // 256)
    found = run(verifier, "import os\nprint(os.path.getsize('big'))", {"big": content}, ["big"])
    assert (found.stdout, found.files) == (f"{20 * MIB}\n", {"big": content})


def test_what_is_fetched_is_no_more_than_the_folder_holds(verifier: Verifier) -> None:
    code = "for i in range(40):\n    with open(f'{i}', 'wb') as f: f.truncate(7 << 20)"
    found = run(verifier, code, fetch=[f"{i}" for i in range(40)])
    assert sum(map(len, found.files.values())) == 63 * MIB


def test_a_program_that_fills_its_folder_does_no_harm_to_its_worker(verifier: Verifier) -> None:
    """The pages of the folder count towards the worker's memory."""
    code = "for i in range(7): open(f'{i}', 'wb').write(bytes(8 << 20))\nx = bytearray(100 << 20)\nprint('enough room')"
    before = verifier.restarts
    assert output(verifier, code) == "enough room\n"
    assert verifier.restarts == before


def test_two_workers_have_folders_of_their_own(verifier: Verifier) -> None:
    code = "import os, time\nopen('mail', 'x').close()\ntime.sleep(0.3)\nprint(sorted(os.listdir()))"
    with Verifier.from_config(verifier._config, workers=2) as both:
        found: list[Run] = []
        for number in range(2):
            both.submit(Program(f"{number}", code), found.append)
        while len(found) < 2:
            both.run(Program("wait", "import time; time.sleep(0.1)"))
    assert [each.stdout for each in found] == ["['mail', 'main.py']\n"] * 2


def test_a_solution_writes_no_file_and_finds_none(verifier: Verifier) -> None:
    verifier.run(Program("p", "open('/tmp/left', 'w')"))
    sol = (
        "import os\ndef sol():\n    found = []\n    for path in ('a', '/tmp/a', '/dev/null'):\n"
        "        for mode in ('w', 'a', 'r+', 'x'):\n            try: open(path, mode); found.append(path + mode)\n"
        "            except OSError: pass\n    return found + os.listdir('.')"
    )
    assert verifier.verify(Task("t", "def sat(found: List[str]): return found == []", sol)).accepted
    serve = sol.replace("sol()", "f()")
    assert verifier.verify(FunctionTask("t", serve, "f", cases=[((), {}, [])])).accepted


def test_tests_that_share_a_process_with_the_solution_write_files(verifier: Verifier) -> None:
    tests = (
        "import os, tempfile\ndef test_file():\n    with tempfile.TemporaryDirectory() as d:\n"
        "        save(d + '/a'); assert open(d + '/a').read() == 'x'\n    open('left', 'w')"
    )
    sol = "def save(path):\n    with open(path, 'w') as f: f.write('x')"
    for all_cases in (False, True):
        task = FunctionTask("t", sol, "save", tests=tests, isolation="shared", all_cases=all_cases)
        assert verifier.verify(task).accepted
        assert output(verifier, "import os; print(os.listdir())") == "['main.py']\n"


def test_the_cases_of_a_program_begin_with_an_empty_folder(verifier: Verifier) -> None:
    code = "import os\ninput()\nprint(os.path.exists('left'))\nopen('left', 'w').write('x')"
    assert verifier.verify(StdioTask("t", code, [("1", "False\n"), ("2", "False\n"), ("3", "False\n")])).accepted


@pytest.mark.parametrize(
    ("files", "fetch", "complaint"),
    [
        ({"/etc/x": b""}, (), "files: '/etc/x' must be relative"),
        ({"../x": b""}, (), "must have no empty part, '.' or '..'"),
        ({"a/../b": b""}, (), "must have no empty part"),
        ({"a//b": b""}, (), "must have no empty part"),
        ({"": b""}, (), "must have no empty part"),
        ({"./a": b""}, (), "must have no empty part"),
        ({"a\0b": b""}, (), "zero byte"),
        ({"a" * 256: b""}, (), "too long"),
        ({"a/" * 600 + "b": b""}, (), "too long"),
        ({"\ud800": b""}, (), "no valid text"),
        ({"a": "text"}, (), "files['a'] must be bytes, not str: encode a text"),
        ({1: b""}, (), "files: a path must be a string, not int"),
        ({"main.py": b""}, (), "'main.py' is the program itself"),
        ({"main.py/x": b""}, (), "'main.py' is a file and a folder"),
        ({"a": b"", "a/b": b""}, (), "'a' is a file and a folder"),
        ({f"{i}": b"" for i in range(501)}, (), "there may be 500 files and folders, not 501"),
        ({"a": bytes(49 * MIB)}, (), "they may take 48 MiB together, not 49.0"),
        ([("a", b"")], (), "files must map paths to bytes, and is of type list"),
        ({}, "abc", "fetch must be a list or tuple of paths, not str"),
        ({}, ["/etc/passwd"], "fetch: '/etc/passwd' must be relative"),
        ({}, [b"a"], "fetch: a path must be a string, not bytes"),
    ],
)
def test_files_that_can_not_be_given_or_fetched_are_invalid(
    restricted: Verifier, files: object, fetch: object, complaint: str
) -> None:
    found = restricted.run(Program("p", "print(1)", files=files, fetch=fetch))  # type: ignore[arg-type]
    assert found.ending is Ending.INVALID and complaint in found.message, found


def test_a_run_with_files_goes_through_json(restricted: Verifier) -> None:
    found = restricted.run(Program("p", "open('a', 'wb').write(bytes([0, 255]))", fetch=["a"]))
    fields = json.loads(json.dumps(found.to_dict()))
    assert base64.b64decode(fields["files"]["a"]) == b"\0\xff"
    assert Run.from_dict(fields) == found


def test_programs_and_runs_can_be_hashed() -> None:
    assert hash(Program("p", "", files={"a": b""})) == hash(Program("p", "", files={"b": b""}))
    hash(Run("r", Ending.EXITED, files={"a": b""}))
