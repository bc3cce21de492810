"""From event logs to a vocabulary and per-user sequences of item rows."""

from deployrec.data.dataset import Dataset, Origin
from deployrec.data.items import write_items
from deployrec.data.load import load_dataset
from deployrec.data.split import LeaveOneOut, SplitView, leave_one_out

__all__ = ["Dataset", "LeaveOneOut", "Origin", "SplitView", "leave_one_out", "load_dataset", "write_items"]
