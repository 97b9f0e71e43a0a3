# Play of the expert with one deviator in agent 0's place, 180 files each. Variables as in collect_vdn.sh;
# DEVIATORS are the labels, by default those that the mixes name.
: "${ENVIRONMENTS:=spread reference tag}" "${DEVIATORS:=}" "${STEPS:=3000000}" "${AGENTS:=0}"
. "$(dirname "$0")/common.sh"
for env in $ENVIRONMENTS; do
  task_of "$env" "$AGENTS"
  for label in ${DEVIATORS:-$deviators}; do
    $python train/vdn_collect.py env.ENV_NAME="$task" ${nested[@]+"${nested[@]}"} alg.IDIOTIC_AGENT=True \
      alg.EXPERT_PARAM_PATH="agents/$agents_folder/expert.safetensors" \
      alg.IDIOTIC_AGENT_PATH="agents/$agents_folder/$label.safetensors" \
      "alg.TRAJ_BATCH_PATH=$data_folder/vdnexpert|$label" alg.TOTAL_TIMESTEPS="$STEPS" ${COLLECT:-} "$@"
  done
done
