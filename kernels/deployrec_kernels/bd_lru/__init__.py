"""RecBLR's behaviour-dependent linear recurrent unit: its gates and its recurrence in one operator."""
