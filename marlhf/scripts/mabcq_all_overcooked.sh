# Overcooked: the same with MABCQ (common.sh).
: "${MIXES:=diversified mix-unilateral}" "${TYPE:=RNN}" "${WIDTHS:=64}" "${ALPHAS:=0.1 1}" "${BETAS:=10}" "${SEEDS:=0 1 2 3 4 5}"
. "$(dirname "$0")/common.sh"
train_all bcq overcooked 10000 5 "$@"
