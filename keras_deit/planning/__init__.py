"""Plans of trainings: the memory and the steps that they would take."""

from keras_deit.planning.options import plan_options, plan_training
from keras_deit.planning.plan import Plan, PlanOverrides
from keras_deit.planning.planner import make_plan
from keras_deit.planning.report import advice, plan_report

__all__ = [
    "Plan",
    "PlanOverrides",
    "advice",
    "make_plan",
    "plan_options",
    "plan_report",
    "plan_training",
]
