# What the scripts share; sourced, not run.
#
# Every loop is over a variable, so that a grid needs no editing:
#   ALPHAS="0 0.01 0.1 1 10 100" SEEDS="0 1 2 3 4" bash scripts/train_all_spread.sh
# COLLECT, REWARD_MODEL, IMITATION and OFFLINE hold further words for one kind of program, the script's own
# arguments (--device cuda, --run_root DIR) go to every program.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-../.venv/marlhf/bin/python}
command -v "$python" > /dev/null || python=python

# Sets task, agents_folder, data_folder, deviators and nested (words for the number of agents).
#   task_of spread|reference|tag AGENTS
task_of() {
  nested=()
  task=MPE_simple_$1_v3
  agents_folder=$1
  data_folder=data/$task
  deviators="rookie1 rookie2"
  if [ "$1" = tag ]; then deviators="deviator1 rookie3 trivial"; fi
  if [ "$2" != 0 ]; then
    nested=("+env.ENV_KWARGS.num_agents=$2" "+env.ENV_KWARGS.num_landmarks=5")
    agents_folder=$1_na$2
    data_folder=$data_folder/na$2
    deviators="rookie2 rookie3 trivial"
  fi
}

# numbers of files: expert, rookie 1, 2, 3, trivial; then the three deviators
joint_files() {
  case $1 in
    diversified) echo "[15,6,6,3,15]" ;;
    mix-unilateral) echo "[30,0,0,0,15]" ;;
    mix-expert) echo "[45,0,0,0,15]" ;;
    pure-expert) echo "[60,0,0,0,0]" ;;
    diversified/3) echo "[5,2,2,1,5]" ;;
    mix-unilateral/3) echo "[10,0,0,0,5]" ;;
    mix-expert/3) echo "[15,0,0,0,5]" ;;
    pure-expert/3) echo "[20,0,0,0,0]" ;;
    *) echo "no mix $1; there are diversified, mix-unilateral, mix-expert, pure-expert, each also with /3" >&2; exit 2 ;;
  esac
}
unilateral_files() {
  case $1 in
    diversified | mix-unilateral) echo "[15,0,0]" ;;
    diversified/3 | mix-unilateral/3) echo "[5,0,0]" ;;
    *) echo "[0,0,0]" ;;
  esac
}

# Reward model, imitation policy and offline learner of one row of a table; one seed drives all three.
#   train_row PROGRAM ENVIRONMENT AGENTS TYPE WIDTH ALPHA BETA SEED EPOCHS STEEPNESS MIX [ARGUMENT ...]
# AGENTS is 0 for the environment's own number; PROGRAM is vdn, iql or bcq.
train_row() {
  local program=$1 env=$2 agents=$3 type=$4 width=$5 alpha=$6 beta=$7 seed=$8 epochs=$9 steepness=${10} mix=${11}
  shift 11
  local joint unilateral flat=() nested=() configs=("" "" "")
  joint=$(joint_files "$mix")
  unilateral=$(unilateral_files "$mix")
  if [ "$agents" != 0 ]; then
    flat=("+ENV_KWARGS.num_agents=$agents" "+ENV_KWARGS.num_landmarks=5")
    nested=("+env.ENV_KWARGS.num_agents=$agents" "+env.ENV_KWARGS.num_landmarks=5")
  fi
  if [ "$env" = overcooked ]; then
    configs=("--config-name=rm_config_overcooked" "--config-name=offline_IL_config_overcooked"
      "--config-name=${program}_config_overcooked")
  fi
  local mixed=("NUM_BATCH=$joint" "NUM_UNILATERAL_BATCH=$unilateral" USE_UNILATERAL=True)
  $python train/reward_model.py ${configs[0]} ENV_NAME="$env" ${flat[@]+"${flat[@]}"} "${mixed[@]}" SEED="$seed" \
    REWARD_MODEL_TYPE="$type" FF_LAYER_DIM="$width" MSE_LOSS_COEF="$alpha" STEEPNESS="$steepness" \
    SAVE_DIR="results/seed$seed" ${REWARD_MODEL:-} "$@"
  $python train/offline_imitation_learning.py ${configs[1]} ENV_NAME="$env" ${flat[@]+"${flat[@]}"} "${mixed[@]}" \
    SEED="$seed" STUDENT_NETWORK_SAVE_PATH="results/seed$seed/IL/" ${IMITATION:-} "$@"
  $python "train/${program}_offline_rm.py" ${configs[2]} env.ENV_NAME="$env" ${nested[@]+"${nested[@]}"} \
    "${mixed[@]/#/alg.}" SEED="$seed" alg.REWARD_MODEL_TYPE="$type" alg.FF_LAYER_DIM="$width" \
    alg.MSE_LOSS_COEF="$alpha" alg.REF_LOG_COEF="$beta" alg.EPOCHS="$epochs" \
    alg.REWARD_NETWORK_PARAM_PATH="results/seed$seed" alg.REFERENCE_NETWORK_PARAM_PATH="results/seed$seed/IL/" \
    alg.SAVE_PATH="results/seed$seed/$program" ${OFFLINE:-} "$@"
}

# Every combination of the variables.
#   train_all PROGRAM ENVIRONMENT EPOCHS STEEPNESS [ARGUMENT ...]
train_all() {
  local program=$1 env=$2 epochs=$3 steepness=$4
  shift 4
  local agents mix width alpha beta seed
  for agents in ${AGENTS:-0}; do
    for mix in $MIXES; do
      for width in $WIDTHS; do
        for alpha in $ALPHAS; do
          for beta in $BETAS; do
            for seed in $SEEDS; do
              train_row "$program" "$env" "$agents" "$TYPE" "$width" "$alpha" "$beta" "$seed" "$epochs" "$steepness" \
                "$mix" "$@"
            done
          done
        done
      done
    done
  done
}
