"""What can be named in a workspace: explicit tables from a name to a class. Nothing is found by magic."""

from penchant.models.ann import Ann, AnnModel
from penchant.models.base import Model, Recipe
from penchant.models.blend import Blend, BlendModel
from penchant.models.co_visitation import CoVisitation, CoVisitationModel
from penchant.models.ease import Ease, EaseModel
from penchant.models.ials import Ials, IalsModel
from penchant.models.item_knn import ItemKnn
from penchant.models.lookalike import Lookalike
from penchant.models.lookalike_model import LookalikeModel
from penchant.models.mf_sgd import Bpr, MfModel, MfSgd
from penchant.models.neighbours import NeighbourModel
from penchant.models.next_best_action import NextBestAction, NextBestActionModel
from penchant.models.pinnersage import PinnerSage, PinnerSageModel
from penchant.models.popularity import Popularity, PopularityModel
from penchant.models.prod2vec import Prod2Vec, Prod2VecModel
from penchant.models.recent import Recent, RecentModel
from penchant.models.rp3beta import Rp3Beta
from penchant.models.session_blend import SessionBlend, SessionBlendModel
from penchant.models.trending import Trending, TrendingModel
from penchant.models.two_stage import TwoStage, TwoStageModel
from penchant.models.vsknn import VsKnn, VsKnnModel

RECIPES: dict[str, type[Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Popularity,
        Trending,
        Ials,
        Lookalike,
        ItemKnn,
        Ease,
        Rp3Beta,
        Recent,
        Blend,
        TwoStage,
        MfSgd,
        Bpr,
        CoVisitation,
        VsKnn,
        SessionBlend,
        Prod2Vec,
        PinnerSage,
        Ann,
        NextBestAction,
    )
}
"""The name in ``recipe = "..."`` of penchant.toml -> the recipe."""

MODELS: dict[str, type[Model]] = {
    model.kind: model
    for model in (
        PopularityModel,
        TrendingModel,
        IalsModel,
        LookalikeModel,
        NeighbourModel,
        EaseModel,
        RecentModel,
        BlendModel,
        TwoStageModel,
        MfModel,
        CoVisitationModel,
        VsKnnModel,
        SessionBlendModel,
        Prod2VecModel,
        PinnerSageModel,
        AnnModel,
        NextBestActionModel,
    )
}
"""The kind in a saved model's folder -> the class that opens it."""

ABOUT_ACTIONS = frozenset({NextBestAction.name})
"""The names of recipes whose models give actions, not items."""

SAME_FOR_ALL = frozenset({PopularityModel.kind, TrendingModel.kind})
"""The kinds of models that answer the same for everybody, also for somebody nothing is known of."""
