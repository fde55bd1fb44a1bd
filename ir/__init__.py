"""What a program is: TVM Relax with devices in its types, offline models as external calls, and a verifier of the rules."""
