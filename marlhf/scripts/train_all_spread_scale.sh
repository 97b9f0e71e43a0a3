# Spread with AGENTS agents and five landmarks, a third of the data: the same three programs (common.sh).
: "${MIXES:=diversified/3}" "${TYPE:=FF}" "${WIDTHS:=128}" "${ALPHAS:=1}" "${BETAS:=10}" "${SEEDS:=0}" "${AGENTS:=5}"
. "$(dirname "$0")/common.sh"
train_all vdn MPE_simple_spread_v3 10000 5 "$@"
