# Overcooked: the same with MAIQL (common.sh).
: "${MIXES:=diversified mix-unilateral}" "${TYPE:=RNN}" "${WIDTHS:=64}" "${ALPHAS:=0.001}" "${BETAS:=0}" "${SEEDS:=0 1 2 3 4 5 6 7 8 9}"
. "$(dirname "$0")/common.sh"
train_all iql overcooked 10000 5 "$@"
