"""Models, results and graphs of the libraries that have a pack: what people pickle loads, in every protocol, and computes the same."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

import safeload
from safeload.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable

np = pytest.importorskip("numpy")
pytestmark = pytest.mark.filterwarnings("ignore")

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
ROWS = 60
FEATURES = np.random.RandomState(0).rand(ROWS, 4)
CLASSES = np.arange(ROWS) % 3
TARGET = FEATURES[:, 0] * 2 + FEATURES[:, 1]


def loaded(value: Any, *packs: str) -> list[Any]:
    """``value`` from a pickle of each protocol, under ``packs``."""
    policy = Policy.packs(*packs)
    found = []
    for protocol in PROTOCOLS:
        data = pickle.dumps(value, protocol)
        assert safeload.scan(data, policy=policy).verdict == "clean", protocol
        found.append(safeload.loads(data, policy=policy))
    return found


def same_predictions(model: Any, *packs: str) -> None:
    """A loaded model predicts what the original does."""
    expected = np.asarray(model.predict(FEATURES))
    for other in loaded(model, *packs):
        assert type(other) is type(model)
        assert np.array_equal(np.asarray(other.predict(FEATURES)), expected)


# ---------------------------------------------------------------- boosters


XGBOOST: dict[str, Callable[[Any], Any]] = {
    "classifier": lambda xgb: xgb.XGBClassifier(n_estimators=3).fit(FEATURES, CLASSES),
    "binary": lambda xgb: xgb.XGBClassifier(n_estimators=3).fit(FEATURES, CLASSES > 0),
    "regressor": lambda xgb: xgb.XGBRegressor(n_estimators=3).fit(FEATURES, TARGET),
    "two targets": lambda xgb: xgb.XGBRegressor(n_estimators=2).fit(FEATURES, np.c_[TARGET, -TARGET]),
    "forest": lambda xgb: xgb.XGBRFRegressor(n_estimators=3).fit(FEATURES, TARGET),
    "forest of classes": lambda xgb: xgb.XGBRFClassifier(n_estimators=3).fit(FEATURES, CLASSES),
    "ranker": lambda xgb: xgb.XGBRanker(n_estimators=3).fit(FEATURES, CLASSES, qid=np.repeat([0, 1], ROWS // 2)),
    "dart": lambda xgb: xgb.XGBRegressor(n_estimators=3, booster="dart", rate_drop=0.5).fit(FEATURES, TARGET),
    "linear": lambda xgb: xgb.XGBRegressor(n_estimators=3, booster="gblinear").fit(FEATURES, TARGET),
    "pruned": lambda xgb: xgb.XGBRegressor(n_estimators=3, gamma=0.3, tree_method="exact").fit(FEATURES, TARGET),
    "early stopping": lambda xgb: xgb.XGBClassifier(
        n_estimators=5, callbacks=[xgb.callback.EarlyStopping(2)], eval_metric="mlogloss"
    ).fit(FEATURES, CLASSES, eval_set=[(FEATURES, CLASSES)], verbose=False),
}  # fmt: skip


@pytest.mark.parametrize("case", XGBOOST)
def test_xgboost(case: str) -> None:
    """Every estimator and booster of XGBoost comes back with its trees."""
    model = XGBOOST[case](pytest.importorskip("xgboost"))
    same_predictions(model, "xgboost")


def test_xgboost_boosters() -> None:
    """Bare boosters, with names and categories of a data frame, untrained, and one per class of a meta estimator."""
    xgb = pytest.importorskip("xgboost")
    pd = pytest.importorskip("pandas")
    multioutput = pytest.importorskip("sklearn.multioutput")
    frame = pd.DataFrame({"a": pd.Categorical(list("abcdabcdab") * 6), "bé": np.arange(60.0)})
    model = xgb.XGBRegressor(n_estimators=3, enable_categorical=True).fit(frame, TARGET)
    for booster in loaded(model.get_booster(), "xgboost"):
        assert booster.feature_names == ["a", "bé"]
        assert np.array_equal(booster.predict(xgb.DMatrix(frame, enable_categorical=True)), model.predict(frame))
    loaded(xgb.XGBClassifier(), "xgboost")
    targets = np.c_[TARGET, TARGET]  # two boosters of the same content are two boosters
    both = multioutput.MultiOutputRegressor(xgb.XGBRegressor(n_estimators=2)).fit(FEATURES, targets)
    same_predictions(both, "xgboost", "sklearn")


LIGHTGBM: dict[str, Callable[[Any], Any]] = {
    "classifier": lambda lgb: lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(FEATURES, CLASSES),
    "names": lambda lgb: lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(FEATURES, np.array(list("abc"))[CLASSES]),
    "regressor": lambda lgb: lgb.LGBMRegressor(n_estimators=3, verbose=-1).fit(FEATURES, TARGET),
    "one leaf": lambda lgb: lgb.LGBMRegressor(n_estimators=3, verbose=-1).fit(FEATURES[:5], TARGET[:5]),
    "quantile": lambda lgb: lgb.LGBMRegressor(n_estimators=3, objective="quantile", alpha=0.1, verbose=-1).fit(
        FEATURES, TARGET
    ),
    "forest": lambda lgb: lgb.LGBMRegressor(
        n_estimators=3, boosting_type="rf", bagging_freq=1, bagging_fraction=0.5, verbose=-1
    ).fit(FEATURES, TARGET),
    "dart": lambda lgb: lgb.LGBMRegressor(n_estimators=3, boosting_type="dart", verbose=-1).fit(FEATURES, TARGET),
    "monotone": lambda lgb: lgb.LGBMRegressor(n_estimators=3, monotone_constraints=[1, 0, -1, 0], verbose=-1).fit(
        FEATURES, TARGET
    ),
    "ranker": lambda lgb: lgb.LGBMRanker(n_estimators=3, verbose=-1).fit(FEATURES, CLASSES, group=[30, 30]),
    "early stopping": lambda lgb: lgb.LGBMClassifier(n_estimators=9, verbose=-1).fit(
        FEATURES, CLASSES, eval_set=[(FEATURES, CLASSES)], callbacks=[lgb.early_stopping(2, verbose=False)]
    ),
    "booster": lambda lgb: lgb.train({"verbose": -1}, lgb.Dataset(FEATURES, TARGET), 3),
}  # fmt: skip


@pytest.mark.parametrize("case", LIGHTGBM)
def test_lightgbm(case: str) -> None:
    """Every estimator and booster of LightGBM comes back with its trees."""
    model = LIGHTGBM[case](pytest.importorskip("lightgbm"))
    same_predictions(model, "lightgbm")


def test_lightgbm_categories() -> None:
    """Trees that split on categories, and names of columns outside of ASCII."""
    lgb = pytest.importorskip("lightgbm")
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": pd.Categorical(list("abcdefghij") * 30), "bé": np.arange(300.0)})
    model = lgb.LGBMRegressor(n_estimators=9, min_child_samples=2, cat_smooth=1, verbose=-1)
    model.fit(frame, np.random.RandomState(0).rand(300))
    assert "num_cat=1" in model.booster_.model_to_string()
    for other in loaded(model, "lightgbm"):
        assert np.array_equal(other.predict(frame), model.predict(frame))


CATBOOST: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "classifier": lambda cat, options: cat.CatBoostClassifier(**options).fit(FEATURES, CLASSES),
    "regressor": lambda cat, options: cat.CatBoostRegressor(**options).fit(FEATURES, TARGET),
    "ranker": lambda cat, options: cat.CatBoostRanker(**options).fit(
        FEATURES, CLASSES, group_id=np.repeat([0, 1], ROWS // 2)
    ),
    "plain": lambda cat, options: cat.CatBoost(options).fit(FEATURES, TARGET),
    "evaluated": lambda cat, options: cat.CatBoostClassifier(**options).fit(
        FEATURES, CLASSES, eval_set=(FEATURES, CLASSES)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CATBOOST)
def test_catboost(case: str) -> None:
    """Every estimator of CatBoost comes back with its trees."""
    cat = pytest.importorskip("catboost")
    options = {"iterations": 3, "depth": 2, "verbose": 0, "allow_writing_files": False}
    same_predictions(CATBOOST[case](cat, options), "catboost")
    loaded(cat.CatBoostClassifier(), "catboost")


# ---------------------------------------------------------------- statsmodels


def statsmodels_results() -> dict[str, Callable[[], Any]]:
    """One fit per kind of model."""
    sm = pytest.importorskip("statsmodels.api")
    pd = pytest.importorskip("pandas")
    from statsmodels.genmod import families
    from statsmodels.miscmodels.ordinal_model import OrderedModel
    from statsmodels.tsa import api as tsa

    rng = np.random.RandomState(1)
    exog = sm.add_constant(pd.DataFrame(rng.rand(ROWS, 2), columns=["a", "b"]))
    endog = exog["a"] * 2 + rng.rand(ROWS)
    counts, binary = pd.Series(rng.poisson(3, ROWS)), pd.Series(rng.randint(0, 2, ROWS))
    series = pd.Series(rng.rand(ROWS).cumsum() + 10, index=pd.date_range("2020", periods=ROWS, freq="MS"))
    table = pd.DataFrame({"x": series, "y": np.sin(series)})
    named: dict[str, Callable[[], Any]] = {
        "OLS": lambda: sm.OLS(endog, exog).fit(),
        "OLS of arrays": lambda: sm.OLS(endog.to_numpy(), exog.to_numpy()).fit(cov_type="HC1"),
        "OLS, regularized": lambda: sm.OLS(endog, exog).fit_regularized(),
        "WLS": lambda: sm.WLS(endog, exog, weights=np.ones(ROWS)).fit(),
        "GLS": lambda: sm.GLS(endog, exog).fit(),
        "GLSAR": lambda: sm.GLSAR(endog, exog, 1).iterative_fit(2),
        "quantiles": lambda: sm.QuantReg(endog, exog).fit(),
        "mixed": lambda: sm.MixedLM(endog, exog, groups=CLASSES).fit(),
        "MNLogit": lambda: sm.MNLogit(CLASSES, exog).fit(disp=0),
        "ordered": lambda: OrderedModel(CLASSES, exog[["a", "b"]]).fit(disp=0),
        "GEE": lambda: sm.GEE(endog, exog, groups=CLASSES).fit(),
        "PHReg": lambda: sm.PHReg(endog, exog[["a"]]).fit(),
        "AutoReg": lambda: tsa.AutoReg(series, 2).fit(),
        "exponential": lambda: tsa.ExponentialSmoothing(series, trend="add").fit(),
        "VAR": lambda: tsa.VAR(table).fit(1),
        "decomposed": lambda: tsa.seasonal_decompose(series, period=12),
        "STL": lambda: tsa.STL(series, period=12).fit(),
        "ECDF": lambda: sm.distributions.ECDF(endog.to_numpy()),
    }
    for name in ("Logit", "Probit"):
        named[name] = lambda name=name: getattr(sm, name)(binary, exog).fit(disp=0)
    for name in ("Poisson", "NegativeBinomial", "NegativeBinomialP", "GeneralizedPoisson"):
        named[name] = lambda name=name: getattr(sm, name)(counts, exog).fit(disp=0)
    for name in ("HuberT", "TukeyBiweight", "AndrewWave", "Hampel", "LeastSquares", "RamsayE"):
        named[f"RLM {name}"] = lambda name=name: sm.RLM(endog, exog, M=getattr(sm.robust.norms, name)()).fit()
    for name in ("Gaussian", "Binomial", "Poisson", "Gamma", "InverseGaussian", "NegativeBinomial", "Tweedie"):
        family = getattr(families, name)
        for link in family.links:
            y = binary if name == "Binomial" else counts + 1
            named[f"GLM {name} {link.__name__}"] = lambda y=y, family=family, link=link: sm.GLM(
                y, exog, family=family(link=link())
            ).fit(maxiter=3)
    return named


def test_statsmodels() -> None:
    """Models and their results, with their parameters."""
    named = statsmodels_results()
    assert len(named) > 40
    for name, fit in named.items():
        result = fit()
        for other in loaded(result, "statsmodels"):
            assert type(other) is type(result), name
            if hasattr(result, "params"):
                assert repr(other.params) == repr(result.params), name


def test_a_formula_is_not_evaluated() -> None:
    """A model that was made with a formula evaluates it while it is unpickled: refused, with the reason."""
    formulas = pytest.importorskip("statsmodels.formula.api")
    frame = pytest.importorskip("pandas").DataFrame({"y": TARGET, "a": FEATURES[:, 0]})
    data = pickle.dumps(formulas.ols("y ~ a", frame).fit())
    with pytest.raises(safeload.PolicyError, match="formula"):
        safeload.loads(data, policy=["statsmodels"])


# ---------------------------------------------------------------- networkx, joblib


@pytest.mark.parametrize("kind", ["Graph", "DiGraph", "MultiGraph", "MultiDiGraph"])
def test_networkx(kind: str) -> None:
    """Graphs with attributes, and with the views that they keep once somebody has asked for them."""
    nx = pytest.importorskip("networkx")
    graph = getattr(nx, kind)(name="x")
    graph.add_edge(1, "a", weight=0.5)
    graph.add_node((1, 2), colour="red")
    for number, other in enumerate(loaded(graph, "networkx")):
        assert nx.utils.graphs_equal(other, graph), number
    views = ["nodes", "edges", "adj", "degree"]
    views += ["succ", "pred", "in_edges", "out_edges", "in_degree", "out_degree"] if graph.is_directed() else []
    for name in views:
        getattr(graph, name)
    for other in loaded(graph, "networkx"):
        assert nx.utils.graphs_equal(other, graph)
        assert list(other.edges) == list(graph.edges)
        assert dict(other.degree) == dict(graph.degree)
    for other in loaded(nx.freeze(graph.copy()), "networkx"):
        with pytest.raises(nx.NetworkXError):
            other.add_node(3)
    if not graph.is_directed():  # networkx does not pickle the others
        for other in loaded(graph.subgraph([1, "a"]), "networkx"):
            assert sorted(map(str, other)) == ["1", "a"]


def test_joblib() -> None:
    """A function that was not cached, as pipelines keep it."""
    memory = pytest.importorskip("joblib.memory")
    for other in loaded(memory.NotMemorizedFunc(np.mean), "joblib"):
        assert other([1, 3]) == 2
