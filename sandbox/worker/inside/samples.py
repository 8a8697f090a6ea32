"""What the zygote runs of well-known packages before the jail closes: statements that use what tasks use most.

A package imports parts of itself, and fills tables and caches, at the first call that needs them. What has happened
before the snapshot is there for every task; else each task would do it again, or be left to the fork engine.
"""

from __future__ import annotations

NUMPY = """
import numpy, numpy.fft, numpy.linalg, numpy.ma, numpy.polynomial, numpy.random, numpy.testing
for kind in (float, int, complex, bool):
    square = numpy.array([[3, 1], [0, 2]], kind)
    for one in (square, square[0], square.T):
        repr(one), str(one), one.tobytes(), one.tolist(), one.sum(), one.max(), one.mean(), one.astype(float if kind is
        int else kind), one.copy(), one.reshape(-1), numpy.unique(one), numpy.sort(one, axis=None), numpy.argsort(one)
        one @ square, one == one, one + 1, numpy.array2string(one), one.any(), one.all(), one.argmax(), one.cumsum()
real, large = numpy.array([[3.0, 1.0], [1.0, 2.0]]), numpy.ones((128, 128))
large @ large, numpy.dot(large, large[0]), numpy.dot(large[0], large[0]), numpy.vdot(real, real)
linalg, fft = numpy.linalg, numpy.fft
for function in (linalg.inv, linalg.det, linalg.slogdet, linalg.eig, linalg.eigh, linalg.eigvals, linalg.svd, linalg.qr,
                 linalg.cholesky, linalg.norm, linalg.pinv, linalg.matrix_rank, fft.fft, fft.ifft, fft.rfft, fft.fft2,
                 numpy.mean, numpy.std, numpy.var, numpy.median, numpy.cumsum, numpy.diff, numpy.exp, numpy.log,
                 numpy.sin, numpy.sqrt, numpy.abs, numpy.floor, numpy.round, numpy.isnan, numpy.nonzero, numpy.gradient,
                 numpy.cov, numpy.corrcoef, numpy.trace, numpy.ravel, numpy.transpose, numpy.flip, numpy.triu):
    function(real)
linalg.solve(real, real[0]), linalg.solve(large + 128 * numpy.eye(128), large[0]), linalg.inv(large + numpy.eye(128))
linalg.lstsq(real, real[0], rcond=None), linalg.matrix_power(real, 3), numpy.kron(real, real), numpy.outer(real, real)
numpy.einsum("ij,jk", real, real), numpy.where(real > 1, real, 0), numpy.isclose(real, real), numpy.allclose(1, 1)
numpy.concatenate([real, real]), numpy.stack([real, real]), numpy.arange(3.0), numpy.linspace(0, 1, 3)
numpy.array(["a", "bc"]), numpy.array([None, {}]), numpy.percentile(real, 50), numpy.bincount([1, 2]), numpy.eye(2)
numpy.array([(1, 2.0)], dtype=[("a", int), ("b", float)])["a"], numpy.meshgrid([1, 2], [1, 2]), numpy.tile(real, 2)
numpy.interp(1.5, [1, 2], [1, 2]), numpy.polyfit([1, 2, 3], [1, 2, 3], 1), numpy.roots([1, -3, 2]), numpy.trapezoid([1])
numpy.searchsorted([1, 2], 1), numpy.histogram([1, 2]), numpy.convolve([1, 2], [1]), numpy.cross([1, 0, 0], [0, 1, 0])
repr(numpy.float64(0.1)), numpy.float32("1.5"), numpy.datetime64("2020-01-01") + numpy.timedelta64(1, "D")
numpy.int64(7) // 2, float(numpy.float64(2)), numpy.int64(3) == 3, "%.2f" % numpy.float64(1), f"{numpy.float64(1):.2f}"
numpy.vectorize(lambda x: x + 1)([1, 2]), numpy.apply_along_axis(sum, 0, real), numpy.pad([1], 1), numpy.isin([1], [1])
numpy.ma.array([1, 2], mask=[0, 1]).sum(), numpy.polynomial.Polynomial([1, 2])(3)
try:
    linalg.inv(real * 0)
except linalg.LinAlgError:
    pass
with numpy.errstate(all="ignore"):
    real / 0
real / 0
for source in (numpy.random.default_rng(0), numpy.random):
    source.normal(size=2), source.permutation(3), source.choice([1, 2, 3]), source.shuffle([1, 2])
    source.uniform(), source.exponential(), source.poisson(2), source.binomial(3, 0.5)
numpy.random.default_rng(0).integers(5), numpy.random.randint(5), numpy.random.rand(2), numpy.random.randn(2)
numpy.random.seed(1), numpy.random.default_rng(), numpy.random.RandomState(1).rand()
numpy.testing.assert_allclose(real, real), numpy.testing.assert_array_equal(real, real)
numpy.testing.assert_almost_equal(1.0, 1.0)
try:
    numpy.testing.assert_allclose(real, real + 1)
except AssertionError:
    pass
"""

PANDAS = """
import io, pandas
frame = pandas.DataFrame({"a": [1, 2, 2], "b": [0.5, None, 1.5], "c": ["x", "y", "x"]})
repr(frame), str(frame["c"]), frame.to_dict(), frame.describe(), frame.sort_values("a"), frame.dropna(), frame.fillna(0)
frame.groupby("c")["a"].sum(), frame.groupby("c").agg({"a": "mean"}), frame.merge(frame, on="a"), frame.equals(frame)
frame.pivot_table(index="a", columns="c", values="b"), frame["a"].value_counts(), frame.apply(lambda row: 1, axis=1)
frame[frame["a"] > 1], frame.loc[0, "a"], frame.iloc[0], frame["c"].str.upper(), frame["a"].rolling(2).mean()
frame.isna(), frame.drop_duplicates("a"), frame.reset_index(), frame.set_index("a"), frame.T, frame.to_csv()
frame.to_html(), frame.to_json()
frame["b"].mean(), frame["a"].astype(float), frame["a"].map({1: 2}), frame.assign(d=1), frame.corr(numeric_only=True)
pandas.to_datetime(["2020-01-01"]).strftime("%Y"), pandas.date_range("2020-01-01", periods=2)
pandas.Timestamp(0, tz="UTC"), pandas.Timestamp("2020-01-01") + pandas.Timedelta(days=1)
pandas.concat([frame, frame]), pandas.Series([1, 2]).to_list(), pandas.read_csv(io.StringIO("a,b\\n1,2\\n"))
pandas.testing.assert_frame_equal(frame, frame), pandas.testing.assert_series_equal(frame["a"], frame["a"])
"""

SCIPY = """
import scipy.cluster.hierarchy, scipy.constants, scipy.fft, scipy.integrate, scipy.interpolate, scipy.io, scipy.linalg
import scipy.ndimage, scipy.optimize, scipy.signal, scipy.sparse, scipy.sparse.csgraph, scipy.sparse.linalg
import scipy.spatial, scipy.special, scipy.stats
matrix = [[3.0, 1.0], [1.0, 2.0]]
scipy.linalg.solve(matrix, [1.0, 2.0]), scipy.linalg.lu(matrix), scipy.linalg.expm(matrix), scipy.linalg.eigh(matrix)
scipy.special.gamma(2.5), scipy.special.comb(5, 2, exact=True), scipy.special.erf(0.5), scipy.fft.fft([1.0, 2.0])
scipy.optimize.minimize(lambda x: float((x**2).sum()), [1.0, 2.0]), scipy.optimize.brentq(lambda x: x - 1, 0, 3)
scipy.optimize.linprog([1, 1], A_ub=[[-1, 0], [0, -1]], b_ub=[-1, -1]), scipy.optimize.curve_fit(lambda x, a: a * x,
    [1, 2, 3], [2, 4, 6]), scipy.optimize.fsolve(lambda x: x - 1, 0.0), scipy.optimize.linear_sum_assignment(matrix)
scipy.stats.norm.cdf(0.5), scipy.stats.norm.rvs(size=2, random_state=0), scipy.stats.ttest_ind([1.0, 2.0], [2.0, 4.0])
scipy.stats.linregress([1, 2, 3], [1, 2, 4]), scipy.stats.pearsonr([1, 2, 3], [1, 2, 4]), scipy.stats.mode([1, 1, 2])
scipy.integrate.quad(lambda x: x, 0, 1), scipy.integrate.solve_ivp(lambda t, y: -y, (0, 1), [1.0])
scipy.sparse.csr_matrix(matrix) @ scipy.sparse.csr_matrix(matrix), scipy.spatial.distance.cdist(matrix, matrix)
scipy.spatial.ConvexHull([[0, 0], [1, 0], [0, 1]]), scipy.spatial.KDTree(matrix).query([0, 0])
scipy.interpolate.interp1d([1, 2], [1, 2])(1.5), scipy.interpolate.CubicSpline([1, 2, 3], [1, 2, 3])(1.5)
scipy.sparse.csgraph.shortest_path(scipy.sparse.csr_matrix(matrix)), scipy.ndimage.label([0, 1])
scipy.signal.convolve([1, 2], [1, 2])
scipy.optimize.differential_evolution(lambda x: float(x[0]), [(0, 1)], seed=0)
"""

SYMPY = """
import sympy
x, y = sympy.symbols("x y")
term = (x + y) ** 2 / (x + 1)
str(sympy.expand(term)), sympy.simplify(term - term), sympy.factor(x**2 - 1), sympy.diff(x**3, x), sympy.latex(term)
sympy.integrate(x**2, x), sympy.solve(x**2 - 2, x), sympy.Matrix([[1, 2], [3, 4]]).inv(), sympy.limit(1 / x, x, 0)
sympy.Rational(1, 3) + sympy.sqrt(2), sympy.N(sympy.pi, 20), sympy.sympify("x + 1"), sympy.factorint(60)
sympy.isprime(97), sympy.Sum(x, (x, 1, 5)).doit(), sympy.series(sympy.sin(x), x, 0, 4), sympy.lambdify(x, x + 1)(2)
sympy.primerange(10), sympy.divisors(12), sympy.gcd(12, 18), sympy.binomial(5, 2), sympy.Poly(x**2 + 1, x).degree()
"""

ALL = {"numpy": NUMPY, "pandas": PANDAS, "scipy": SCIPY, "sympy": SYMPY}
"""By the name of the module."""
