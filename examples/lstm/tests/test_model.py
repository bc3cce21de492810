"""The contract that training, export and serving rely on."""

from deployrec_lstm.model import LSTM

from deployrec.models.testing import check_model


def test_the_contract() -> None:
    check_model(LSTM, {"dim": 6, "hidden": 5})
