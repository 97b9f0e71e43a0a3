# Reference: reward model, imitation policy and offline VDN for every combination of the variables below (common.sh).
: "${MIXES:=diversified mix-unilateral mix-expert pure-expert}" "${TYPE:=FF}" "${WIDTHS:=64}" "${ALPHAS:=1}" "${BETAS:=1}" "${SEEDS:=0}"
. "$(dirname "$0")/common.sh"
train_all vdn MPE_simple_reference_v3 10000 5 "$@"
