"""Stage `logs`: users, items and events become samples with labels, histories, statistics and a split by time."""

from m6rec_core.logs.checking import CheckReport, check_logs
from m6rec_core.logs.datasets import PREPARERS, locate, prepare
from m6rec_core.logs.jsonl import read_samples, write_samples
from m6rec_core.logs.leakage import check_label_hidden, check_leakage
from m6rec_core.logs.leave_one_out import HeldOutRows, LeaveOneOut, leave_one_out, unseen_items
from m6rec_core.logs.reading import read_logs
from m6rec_core.logs.samples import SampleTable, build_samples, catalogue
from m6rec_core.logs.schema import Logs
from m6rec_core.logs.split import SPLITS, rechorus_days, time_split
from m6rec_core.logs.statistics import STATISTICS, count_before, statistics_before

__all__ = [
    "PREPARERS",
    "SPLITS",
    "STATISTICS",
    "CheckReport",
    "HeldOutRows",
    "LeaveOneOut",
    "Logs",
    "SampleTable",
    "build_samples",
    "catalogue",
    "check_label_hidden",
    "check_leakage",
    "check_logs",
    "count_before",
    "leave_one_out",
    "locate",
    "prepare",
    "read_logs",
    "read_samples",
    "rechorus_days",
    "statistics_before",
    "time_split",
    "unseen_items",
    "write_samples",
]
