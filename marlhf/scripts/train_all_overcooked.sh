# Overcooked: reward model, imitation policy and offline VDN for every combination of the variables below (common.sh).
: "${MIXES:=diversified}" "${TYPE:=RNN}" "${WIDTHS:=64}" "${ALPHAS:=0}" "${BETAS:=10}" "${SEEDS:=5 6 7 8 9}"
. "$(dirname "$0")/common.sh"
train_all vdn overcooked 10000 5 "$@"
