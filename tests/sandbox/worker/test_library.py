"""The standard library on the snapshot engine: common uses need no fork engine.

Every use is the first one in its process, whatever ran there before. So it includes what a function imports, looks up
or stores when it is first called.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pytest

from selftaught.sandbox import Limits, Task, Verifier
from selftaught.sandbox.worker.inside.zygote import PRELOADED
from tests.conftest import open_verifier

USES = {
    "abc": ["class A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...",
    "abc.ABC.register(int); isinstance(1, abc.ABC)"],
    "array": [
        "a = array.array('i', [1, 2]); a.append(3); a.frombytes(a.tobytes()); a.index(1); a.byteswap(); "
        "a.extend([4]); a * 2; a.tolist(); memoryview(a)",
        "import copy; copy.deepcopy(array.array('d', [0.5])); array.array('b').__reduce_ex__(3)",
    ],
    "ast": ["ast.literal_eval('[1, {2: 3}]')", "ast.unparse(ast.parse('x = [a for a in b]')); "
        "ast.dump(ast.parse('1', mode='eval'))"],
    "base64": [
        "base64.b64decode(base64.b64encode(b'abc'), validate=True); base64.b32encode(b'a'); base64.b16encode(b'a'); "
        "base64.urlsafe_b64encode(b'a')",
        "base64.b85decode(base64.b85encode(b'abc')); base64.a85encode(b'abc'); base64.encodebytes(b'a')",
    ],
    "binascii": ["binascii.hexlify(b'ab', sep=':'); binascii.unhexlify('61'); binascii.b2a_base64(b'a', "
        "newline=False); binascii.crc32(b'a')"],
    "bisect": [
        "x = [1, 3]; bisect.bisect(x, 2); bisect.insort(x, 2); bisect.bisect_left(x, 1, 0, 2)",
        "bisect.bisect_left([1, 3], 1, lo=0, hi=2); bisect.bisect_right([1, 3], 1, key=lambda v: v); "
        "bisect.insort_left([1], 5, key=abs)",
    ],
    "calendar": [
        "calendar.monthrange(2020, 2); calendar.isleap(2020); calendar.timegm((1970, 1, 1, 0, 0, 0)); "
        "calendar.day_name[0]; list(calendar.month_abbr)",
        "calendar.month(2020, 1); calendar.Calendar().monthdayscalendar(2020, 1); "
        "calendar.HTMLCalendar().formatmonth(2020, 1)",
    ],
    "cmath": ["cmath.sqrt(-1); cmath.polar(1j); cmath.rect(1, 2); cmath.exp(1j); cmath.log(2, 3)",
    "cmath.isclose(1, 1, rel_tol=.1)"],
    "codecs": ["codecs.encode('abc', 'rot13'); codecs.decode('abc', 'rot_13'); codecs.encode(b'abc', 'hex'); "
        "codecs.encode(b'abc', 'base64')"],
    "collections": [
        "collections.Counter('aab').most_common(1); collections.Counter(a=1) + collections.Counter(b=2); "
        "collections.defaultdict(list)[1].append(1)",
        "d = collections.deque([1, 2], maxlen=3); d.appendleft(0); d.rotate(1); d.popleft(); "
        "collections.OrderedDict(a=1).move_to_end('a')",
        "P = collections.namedtuple('P', 'x y', defaults=[1]); P(1)._replace(y=2)._asdict(); "
        "collections.ChainMap({}, {}); collections.UserDict(a=1)",
        "import collections.abc\nclass S(collections.abc.Sequence):\n    def __len__(self): return 0\n"
        "    def __getitem__(self, i): raise IndexError\nlist(S())",
    ],
    "contextlib": [
        "import io\n@contextlib.contextmanager\ndef f(): yield 1\n"
        "with f() as x, contextlib.suppress(KeyError), contextlib.redirect_stdout(io.StringIO()): print(1)",
        "with contextlib.ExitStack() as s: s.enter_context(contextlib.nullcontext())",
    ],
    "contextvars": ["contextvars.ContextVar('a').set(1); contextvars.copy_context().run(len, [])"],
    "copy": [
        "copy.deepcopy({'a': [1, {2}], 'b': (3,)}); copy.copy([1])\nclass A:\n    def __init__(self): self.x = [1]\n"
        "copy.deepcopy(A()); copy.copy(A())",
        "import collections, decimal, fractions, random; copy.deepcopy([collections.deque([1]), decimal.Decimal(1), "
        "fractions.Fraction(1, 2), random.Random(5)])",
    ],
    "dataclasses": [
        "from dataclasses import *\n@dataclass(order=True, frozen=True)\nclass P:\n    x: int = 0\n"
        "    y: list = field(default_factory=list, compare=False)\n"
        "replace(P(1), x=2); asdict(P(1)); astuple(P()); fields(P); P(1) < P(2); repr(P()); make_dataclass('Q', "
        "['a'])(1)",
        "from dataclasses import dataclass\n@dataclass(slots=True, kw_only=True)\nclass P:\n    x: int = 0\nP(x=1)",
    ],
    "datetime": [
        "from datetime import *; a = datetime(2020, 1, 2, 3, 4, 5); a + timedelta(days=3, hours=2); "
        "a.strftime('%Y-%m-%d %H:%M:%S %j %A %Z'); a.isoformat()\n"
        "a.replace(year=2021); a.timestamp(); a.timetuple(); a.isocalendar(); date.fromordinal(700000); date(2020, "
        "2, 29).weekday(); time(1, 2, 3)",
        "from datetime import *; datetime.now(); datetime.now(timezone.utc); date.today(); "
        "datetime.fromtimestamp(0); datetime.fromisoformat('2020-01-02')",
        "datetime.datetime.strptime('2020-01-02 Wed', '%Y-%m-%d %a')",
        "class D(datetime.date): pass\nD(2020, 1, 1)\nclass Z(datetime.tzinfo):\n"
        "    def utcoffset(self, x): return None\ndatetime.datetime(2020, 1, 1, tzinfo=Z()).utcoffset()",
    ],
    "decimal": [
        "from decimal import *; getcontext().prec = 50; x = Decimal(2).sqrt(); f'{x:.3f}'; "
        "x.quantize(Decimal('0.01'), rounding=ROUND_HALF_UP); x.exp(); x.as_tuple()",
        "from decimal import *\nwith localcontext() as c:\n    c.prec = 5\n    Decimal(1) / 3\ntry: Decimal(1) / 0\n"
        "except DivisionByZero: pass",
    ],
    "enum": [
        "from enum import *\nclass C(Enum):\n    A = 1\n    B = auto()\nclass F(IntFlag):\n    X = 1\n    Y = 2\n"
        "C(1); C['A']; list(C); F.X | F.Y; repr(F(3)); Enum('E', 'a b')",
    ],
    "fractions": ["from fractions import Fraction as F; F(1, 3) + F('2/7'); F(0.5).limit_denominator(10); str(F(3, "
        "4)); round(F(7, 2)); F(1, 2) ** 2; hash(F(1, 3))"],
    "functools": [
        "@functools.lru_cache(maxsize=None)\ndef g(n): return n if n < 2 else g(n - 1) + g(n - 2)\n"
        "g(50); g.cache_info(); g.cache_clear()\n@functools.cache\ndef h(n): return n\nh(1)",
        "functools.reduce(lambda a, b: a + b, [1, 2], 0); functools.partial(pow, 2)(3); sorted([1, 2], "
        "key=functools.cmp_to_key(lambda a, b: a - b))",
        "@functools.singledispatch\ndef d(x): return 1\n@d.register(int)\ndef _(x): return 2\nd(1)\n"
        "@functools.wraps(d)\ndef w(): pass\n"
        "@functools.total_ordering\nclass T:\n    def __lt__(s, o): return True\n    @functools.cached_property\n"
        "    def x(self): return 1\nT() >= T(); T().x",
    ],
    "heapq": [
        "x = [3, 1, 2]; heapq.heapify(x); heapq.heappush(x, 0); heapq.heappop(x); heapq.heappushpop(x, 5); "
        "heapq.heapreplace(x, 7)",
        "heapq.nsmallest(2, [1, 2], key=lambda v: -v); heapq.nlargest(2, [1, 2]); list(heapq.merge([1, 3], [2, 4], "
        "key=None, reverse=False))",
    ],
    "inspect": ["inspect.signature(lambda a, b=1: 0); inspect.getmembers(1); inspect.isfunction(len)",
    "try: inspect.getsource(use)\nexcept OSError: pass"],
    "io": ["s = io.StringIO('a\\nb', newline=None); s.readline(); s.getvalue(); b = io.BytesIO(b'ab'); "
        "io.TextIOWrapper(b).read(); print('a', file=io.StringIO())"],
    "itertools": [
        "from itertools import *; list(product('ab', repeat=2)); list(permutations([1, 2, 3], r=2)); "
        "list(combinations([1, 2, 3], 2)); list(accumulate([1], initial=0))",
        "from itertools import *; list(groupby([1, 1, 2], key=abs)); list(islice(count(1, 2), 3)); "
        "list(zip_longest([1], [2, 3], fillvalue=0)); list(pairwise([1, 2])); tee([1])",
        "from itertools import *; list(chain.from_iterable([[1]])); list(takewhile(bool, [1, 0])); next(cycle([1])); "
        "list(starmap(pow, [(2, 3)])); list(repeat(1, times=2))",
    ],
    "json": [
        "json.dumps([1, {'a': 2.5}, None, True, False, [], {}, 'b\\u1234'])",
        "json.dumps({'a': [1]}, sort_keys=True, indent=2, ensure_ascii=False, separators=(',', ':'))",
        "json.loads('{\"a\": [1, 2.5e3, null, true, \"x\\\\n\"]}'); json.loads('[1.5]', parse_float=str, "
        "object_pairs_hook=list)",
        "for bad in ('{', '[\"', 'x', '1 2'):\n    try: json.loads(bad)\n    except json.JSONDecodeError: pass",
        "import io; json.dump({'a': 1}, io.StringIO()); json.load(io.StringIO('[]'))\nclass E(json.JSONEncoder):\n"
        "    def default(self, o): return str(o)\njson.dumps([{2}], cls=E)",
    ],
    "math": [
        "math.sqrt(2); math.gcd(4, 6); math.lcm(2, 3); math.comb(5, 2); math.perm(5); math.isqrt(17); "
        "math.factorial(5); math.log(8, 2); math.hypot(3, 4); math.dist([1], [2])",
        "math.prod([1, 2], start=2); math.isclose(1, 1.1, rel_tol=.1, abs_tol=0)",
        "from fractions import Fraction as F; math.floor(F(1, 3)); math.ceil(F(1, 3)); math.trunc(F(1, 3)); "
        "math.floor(1.5)",
    ],
    "numbers": ["isinstance(1, numbers.Integral); isinstance(1.5, numbers.Real)\nclass X(numbers.Number): pass\nX()"],
    "operator": ["operator.itemgetter(1)([1, 2]); operator.attrgetter('real')(1); "
        "operator.methodcaller('upper')('a'); operator.add(1, 2); operator.index(True)"],
    "queue": ["q = queue.Queue(); q.put(1); q.get(); p = queue.PriorityQueue(); p.put(2); p.get(); "
        "queue.LifoQueue().put(1); queue.SimpleQueue().put(item=1, block=True)"],
    "random": [
        "random.seed(5); random.randint(1, 6); random.choice([1]); random.shuffle([1, 2]); random.sample(range(9), "
        "3); random.choices('ab', k=3, weights=[1, 2]); random.gauss(0, 1)",
        "random.seed(); random.Random('a').random(); random.SystemRandom().random(); random.getrandbits(70); "
        "random.betavariate(1, 2); random.getstate()",
        "class R(random.Random): pass\nR(1).random()",
    ],
    "re": [
        "re.findall(r'(\\d+)-(?P<x>[a-z]+)', '12-ab 3-c'); re.sub('a', r'b', 'caa', count=1, flags=re.I); "
        "re.split('[,;]', 'a,b;c', maxsplit=1); re.escape('a.b')",
        "re.compile('x*', re.M | re.S | re.X).search('axx', 1); re.fullmatch('(?i)(?<=a)b|ä', 'Ä'); re.subn('a', "
        "lambda m: m[0] * 2, 'aa'); repr(re.compile('a', re.A))",
        "try: re.compile('(')\nexcept re.error as e: str(e)",
    ],
    "statistics": [
        "from statistics import *; mean([1, 2]); median([1, 2]); stdev([1, 2, 3]); mode([1, 1, 2]); variance([1, 2, "
        "3]); fmean([1, 2]); quantiles([1, 2, 3, 4], n=4); multimode('aab')",
        "from statistics import *; NormalDist(0, 1).cdf(0.3); NormalDist(0, 1).inv_cdf(0.3); harmonic_mean([1, 2]); "
        "geometric_mean([1, 2]); correlation([1, 2, 3], [1, 2, 4])",
    ],
    "string": ["string.ascii_lowercase; string.capwords('a b'); string.Template('$a').substitute(a=1); "
        "string.Formatter().format('{0:>5}', 1)"],
    "struct": [
        "struct.pack('<iHd4sq', 1, 2, 3.0, b'ab', 5); struct.unpack('>I', b'abcd'); struct.calcsize('iq'); "
        "list(struct.iter_unpack('<H', b'abcd')); struct.Struct('<I').pack(1)",
        "struct.unpack_from('<B', b'ab', offset=1); struct.Struct('<I').unpack_from(buffer=b'abcd', offset=0)",
    ],
    "textwrap": ["textwrap.wrap('a b c ' * 20, 20); textwrap.dedent('  a\\n  b'); textwrap.indent('a', '  '); "
        "textwrap.fill('a b', 3); textwrap.shorten('a b c d', 5)"],
    "threading": ["threading.Lock().acquire(); threading.RLock(); threading.local().x = 1; "
        "threading.current_thread(); threading.Event(); threading.stack_size()"],
    "time": [
        "time.time(); time.monotonic(); time.perf_counter(); time.time_ns(); time.sleep(0.001); time.strftime('%Y "
        "%Z', time.gmtime(0)); time.localtime(0)",
        "time.mktime(time.gmtime(0)); time.ctime(0); time.asctime(); time.strptime('2020-01-02', '%Y-%m-%d')",
    ],
    "traceback": ["try: 1 / 0\nexcept ZeroDivisionError:\n    traceback.format_exc()\n    traceback.print_exc()"],
    "types": ["types.SimpleNamespace(a=1); types.MappingProxyType({}); types.new_class('X'); types.MethodType(len, "
        "[]); types.ModuleType('x')"],
    "typing": [
        "from typing import *\nclass N(NamedTuple):\n    x: int\nclass D(TypedDict):\n    a: int\nT = TypeVar('T')\n"
        "class G(Generic[T]): pass\nG[int]; N(1); D(a=1)\n"
        "class P(Protocol):\n    def f(self): ...\nruntime_checkable(P); Callable[[int], str]; Literal[1]; cast(int, "
        "1); get_type_hints(N); get_origin(List[int]); NewType('X', int)(5)",
    ],
    "unicodedata": ["unicodedata.name('a'); unicodedata.normalize('NFKD', 'ä'); unicodedata.category('a'); "
        "unicodedata.lookup('SNOWMAN'); '\\N{SNOWMAN}'"],
    "warnings": ["warnings.warn('x'); warnings.filterwarnings('ignore')\n"
        "with warnings.catch_warnings(): warnings.warn('y')", "eval(\"'\\\\d'\")"],
    "weakref": ["class A: pass\na = A(); weakref.ref(a)(); weakref.WeakKeyDictionary()[a] = 1; "
        "weakref.WeakValueDictionary(); weakref.proxy(a); weakref.finalize(a, print)"],
    "zlib": [
        "zlib.decompress(zlib.compress(b'a' * 1000, level=9), bufsize=5); zlib.crc32(b'a'); zlib.adler32(b'a')",
        "c = zlib.compressobj(level=3); d = zlib.decompressobj(wbits=15); d.decompress(c.compress(b'a') + c.flush(), "
        "max_length=1); d.flush()",
    ],
    "": [
        "'%5.2f %s %r %x %e' % (1.5, 'a', 'b', 255, 1e10); '{:>10,.2f}|{!r:^8}|{a[0]}'.format(1234.5, 'x', a=[1]); "
        "f'{3:05d}{255:#x}{0.1:.3e}{10**10:_}{2:%}'; format(1, 'n')",
        "[text.encode(name).decode(name) for text in ['ab'] for name in 'ascii latin-1 cp1252 utf-8 utf-8-sig utf-16 "
        "utf-16-le utf-32 unicode-escape'.split()]",
        "'ß'.casefold(); 'a b'.title(); '\\u0661'.isdigit(); 'abc'.translate(str.maketrans('a', 'b')); "
        "bytes.fromhex('0a').hex(':'); (5).to_bytes(length=2, byteorder='big')",
        "for bad in ('1+', 'x=', '[}', '\\'', 'f(x'):\n    try: eval(bad)\n    except SyntaxError: pass",
        "try: raise ExceptionGroup('a', [ValueError(1)])\nexcept* ValueError as e: repr(e)",
        "try: input()\nexcept EOFError: pass\nimport sys; sys.stdin.readline(); list(sys.stdin); "
        "sys.stdout.write('a'); sys.stderr.write('b'); sys.stdout.flush()",
        "import os, sys; os.path.join('a', 'b'); os.environ.get('HOME'); os.sep; os.urandom(4); "
        "sys.setrecursionlimit(20_000); sys.getsizeof([]); sys.maxsize",
        "import gc; gc.collect(); gc.disable(); gc.get_objects()",
        "async def f(): return 1\ntry: f().send(None)\nexcept StopIteration: pass",
        "match [1, {'a': 2}]:\n    case [int(x), {'a': y}]: pass",
    ],
}  # fmt: skip
CASES = [(module, use) for module, uses in USES.items() for use in uses]


@pytest.fixture(scope="module")
def snapshots() -> Iterator[Verifier]:
    with open_verifier("restricted", engine="snapshot", limits=Limits(cpu_seconds=5)) as verifier:
        yield verifier


@pytest.mark.parametrize(
    ("module", "use"), CASES, ids=[f"{module or 'builtins'}-{number}" for number, (module, _) in enumerate(CASES)]
)
def test_common_use_of_the_library_stays_on_the_snapshot_engine(snapshots: Verifier, module: str, use: str) -> None:
    top = use if "import *" in use else "pass"  # which is allowed there alone
    body = "pass" if top is use else use
    source = f"{'import ' if module else ''}{module}\n{top}\ndef use():\n{textwrap.indent(body, '    ')}\n"
    puzzle, solution = "def sat(x): return x == 6", "def sol(): return 6"
    for sat, sol in (
        (puzzle, source + "def sol(): return use() or 6"),
        (source + "def sat(x): return use() or x == 6", solution),
    ):
        verdict = snapshots.verify(Task(module, sat, sol))
        assert verdict.accepted, verdict
        assert verdict.verifier.endswith(" snapshot"), verdict


def test_every_module_that_is_preloaded_is_among_those_uses() -> None:
    assert set(PRELOADED) == set(USES) - {""}
