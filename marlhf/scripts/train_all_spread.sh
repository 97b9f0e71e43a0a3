# Spread: reward model, imitation policy and offline VDN for every combination of the variables below (common.sh).
: "${MIXES:=pure-expert}" "${TYPE:=FF}" "${WIDTHS:=128}" "${ALPHAS:=1}" "${BETAS:=1}" "${SEEDS:=0}"
. "$(dirname "$0")/common.sh"
train_all vdn MPE_simple_spread_v3 10000 5 "$@"
