"""What a training would take: memory, steps, time."""

from keras_deit.training.planning.making import make_plan
from keras_deit.training.planning.plan import Circumstances, Plan
from keras_deit.training.planning.plan_report import advice, plan_report

__all__ = ["Circumstances", "Plan", "advice", "make_plan", "plan_report"]
