"""What every error code means, as text: a paragraph a code, with symptom, cause and fix. `landbridge.runtime.error_codes` reads it.

A code that was released keeps its meaning. One that is not raised any more stays here, with "(not raised any more)" at the end of its
symptom, so that an old log can be read.
"""

TABLE = """
LB0000 Something failed for which there is no closer code.
Cause: an error of a package beside Landbridge, passed on as it is.
Fix: follow the message.

LB1000 What was asked for cannot be done.
Cause: see the message; nothing is wrong with the files.
Fix: follow the hint.

LB1001 A file cannot be read or written.
Cause: it does not exist, is a folder, or the rights do not allow it; the message has the system's own words.
Fix: correct the path, or the rights of the file or of its folder.

LB1002 A Python package that this needs is not installed.
Cause: the runtime needs NumPy alone; the compiler, pictures and the demo are extras.
Fix: install what the hint names, such as pip install 'landbridge[compiler]'.

LB1003 A file is neither an artifact nor an offline model of a vendor that is known here.
Cause: neither the first bytes nor the ending of the name tell whose it is.
Fix: name the vendor with --vendor, or install the package of the vendor's plug-in.

LB1100 An option or an argument is not of the form that it must have.
Cause: a number out of range, options that exclude each other, a word that is none of the choices.
Fix: follow the hint; the verb's --help has an example.

LB1101 The command line has a word that is no verb, no option, or in no option's place.
Cause: a slip of the pen, or an option of another verb.
Fix: the message names the nearest one that there is; landbridge VERB --help lists all.

LB1102 A device's name is not known.
Cause: devices are called cpu, or by a vendor's kind and a number, such as atlas0 or gpu1.
Fix: use one of the kinds in the hint; a plug-in's kinds exist once its package is installed.

LB1103 A vendor's name is not known.
Cause: it is misspelt, or the package of its plug-in is not installed here.
Fix: use one of the names in the hint (landbridge doctor lists them), or install the package.

LB1104 A pass, or an option of one, is not known.
Cause: --print-after, --stop-after and pipelines name passes such as insert-copies, with options as in hoist-casts{max-depth=4}.
Fix: use the name in the hint; the passes differ between --mode auto and strict.

LB1105 A mode is not known.
Cause: there are two: auto inserts copies and casts, strict inserts nothing and reports what is missing.
Fix: give "auto" or "strict".

LB1106 The target is not one that host code can be compiled for.
Cause: it is not of the form of an LLVM target, or names a processor, feature or option that LLVM does not know.
Fix: as in --target 'llvm -mcpu=x86-64-v3'; leave it out for this machine.

LB1107 An offline model is to run on a device that its vendor does not have.
Cause: the bytes of the blob are of another vendor than the device that was named for it.
Fix: name a device of the blob's vendor; the hint has its kind.

LB1108 A key, or what is to be trusted, cannot be used.
Cause: the file is no Ed25519 key in PEM form, has a passphrase, exists already, or nothing was named.
Fix: make keys by landbridge keygen, and give NAME.key to sign, NAME.pub to trust.

LB1109 A file is no reproducer of a failed pass.
Cause: landbridge reproduce takes the files that a failed compilation (LB9101) names.
Fix: give the file that the message of the failure named.

LB1110 A function was given something of another Python type.
Cause: such as a path where the bytes of an offline model are expected, or a model that did not come from lb.from_onnx or lb.from_module.
Fix: the hint says how to make what is expected.

LB1111 An artifact has no offline model of that name, or several.
Cause: models are named by their file, or by their symbol.
Fix: landbridge inspect ARTIFACT lists them; where a name is taken twice, use the symbol.

LB1112 A limit is for a device or a dimension that the program does not have, or cannot be worked out.
Cause: --memory-budget and --dim name what the program uses; what is needed may depend on open dimensions.
Fix: use the names in the hint; give the largest extent of every open dimension with --dim.

LB1113 A link of a topology is not a pair of devices.
Cause: --link and topology= take pairs, one of which is the CPU.
Fix: as in --link cpu-atlas0, or ("cpu", "atlas0").

LB1114 The result of an offline model was used as if it were one tensor, or the model was called where nothing records it.
Cause: offline models give a sequence of outputs, and exist only while lb.from_module runs the module.
Fix: take an element, as in self.backbone(x)[0]; call it in forward, by lb.from_module.

LB1115 An option that is a small language is not of its form.
Cause: such as --replace without inputs= and outputs=, or a shell that took the semicolons for its own.
Fix: write it as the message shows, and quote it for the shell.

LB1116 An error code is not known.
Cause: it is misspelt, or of a newer release.
Fix: landbridge explain lists all codes.

LB1117 An artifact has nothing to test itself with.
Cause: it was compiled without --golden.
Fix: compile it again with --golden in.npz, or compare it with its model by landbridge verify.

LB1118 A file of costs is not one.
Cause: it was not written by landbridge bench --write-costs, or was changed by hand; the message has what is wrong.
Fix: docs/cli.md has the form of the file, or write it anew.

LB1119 A trace cannot be shown with this artifact.
Cause: the file is no trace of a run, or another artifact was profiled.
Fix: landbridge run ARTIFACT --profile trace.json with this artifact.

LB1200 An input does not fit.
Cause: see the message; nothing has run.
Fix: landbridge inspect ARTIFACT lists the inputs.

LB1201 An input has no value.
Cause: a run needs all inputs, and nothing says how to make up those that are missing.
Fix: give it by -i NAME=FILE or in the .npz; or let --fill random make it up.

LB1202 There is no input of that name.
Cause: it is misspelt, or the array in the .npz has the name of another model's input.
Fix: use the name in the hint; landbridge inspect ARTIFACT lists all.

LB1203 A value has another dtype or shape than expected.
Cause: NumPy's arrays are float64 and int64 unless told otherwise; pictures are often HWC where the model wants NCHW.
Fix: convert as the hint shows, such as array.astype("float32"); a named extent takes any size, but the same one everywhere.

LB1204 A value is not an array that can be read as one.
Cause: a list, a masked array, or a tensor of a library without DLPack.
Fix: give a NumPy array (np.asarray) or a tensor with DLPack in host memory.

LB1205 A tensor is on another device than the model takes it on, or belongs to another session.
Cause: memory of a device is only valid in the session that allocated it.
Fix: make it by to_device of this session, or give a host array.

LB1206 A file does not hold the values of an input.
Cause: it is no file of NumPy, holds several arrays or one without a name, or has another number of bytes than the tensor.
Fix: give in.npz with an array a name, NAME=array.npy, or NAME=FILE with exactly the bytes of the tensor and --dim for open extents.

LB1207 A picture does not fit an input.
Cause: pictures give uint8 pixels of 1, 3 or 4 channels; the input has another type or rank.
Fix: scale the pixels as the model was trained, and give the result as -i NAME=array.npy.

LB1208 No gear or profile of an offline model takes this size.
Cause: an offline model was compiled for a list of batches or sizes; a batch is put together from them, but not every one can be.
Fix: feed one of the sizes in the hint, let the batch be padded (;gears=split+pad), or re-make the offline model with other gears.

LB1209 A place for an output, or an input, cannot be bound.
Cause: session.bind needs writable memory of the output's dtype, shape and device that overlaps nothing else.
Fix: leave the output out to have it allocated, or give memory as the message says.

LB1210 The extents of the named dimensions are missing or out of range.
Cause: the artifact has open dimensions, and the call does not say how large they are.
Fix: give each of them a positive number.

LB1211 A value without elements goes into an offline model.
Cause: an extent is 0; vendors' software takes no empty tensors.
Fix: do not run on nothing, or feed a batch of at least 1.

LB2000 The model cannot be used.
Cause: see the message.
Fix: follow the hint.

LB2001 The file of a model cannot be read.
Cause: it does not exist, or the rights do not allow it.
Fix: correct the path; it is taken from the folder of the command.

LB2002 A file is no ONNX model.
Cause: it is of another framework, or was cut off on its way.
Fix: export the model to ONNX, and compare the size of the file with where it came from.

LB2003 A model contradicts ONNX's rules or itself.
Cause: the exporter wrote an attribute, a type or an order that the standard does not allow.
Fix: run onnx.checker.check_model on it, and export it again by a newer exporter.

LB2004 The data of a tensor is in another file, which is missing or must not be read.
Cause: large models keep their weights beside the .onnx; only files in its folder are read, whatever the path in it says.
Fix: copy the files of the weights beside the model, under the names it has for them.

LB2005 The model has no value of that name.
Cause: --replace, --offload and split name tensors of the ONNX graph, not layers of the framework.
Fix: use the name in the hint; a viewer of ONNX graphs, or the report, shows the names.

LB2006 The values that were named do not enclose a region.
Cause: something outside needs a value from inside, or the outputs depend on more than the inputs that were named.
Fix: add the value that the message names to the inputs or the outputs.

LB2007 A given shape does not fit the model.
Cause: it has another rank, or fixes an extent that the model fixes to something else.
Fix: give an extent for each axis, a word for those that stay open: --shape image=1,3,h,w.

LB2008 The reference model cannot be computed on these inputs.
Cause: it has other inputs than the artifact, or ONNX Runtime refuses it; its words are in the message.
Fix: give the model that the artifact was compiled from, and inputs that it takes.

LB2009 The shape of a value is not known.
Cause: shape inference does not get to it, so that nothing after it can be planned.
Fix: fix or name the extents of the inputs with --shape, or run the exporter with fixed shapes.

LB2010 Weights were asked of a model with an offline model in it.
Cause: the weights are inside the vendor's blob, so that the model has none to save.
Fix: save it whole: lb.compile(model).save("model.lbr").

LB2011 A module does not return tensors, or has parameters without data.
Cause: forward gives nothing, or something that is no tensor.
Fix: return a tensor, or a tuple or dict of tensors, and give every parameter its data.

LB2012 The blob of an EPContext node is missing or must not be read.
Cause: the node names a file that is not there or is outside of the model's folder, or has neither file nor bytes.
Fix: copy the file beside the model, or write the model with the blob embedded.

LB2013 A text is not that of a module.
Cause: it was not written by landbridge.ir.print_module, or was changed since.
Fix: give what print_module wrote.

LB2100 The signature of an offline model is not right.
Cause: see the message.
Fix: follow the hint.

LB2101 A file is no offline model of a vendor that is known here, or not of the one that was named.
Cause: the first bytes are not those of the format.
Fix: give the file that the vendor's compiler wrote; landbridge inspect FILE tells whose a file is.

LB2102 An offline model is of another vendor than expected.
Cause: the files were mixed up, or the wrong class or device was named for it.
Fix: name the vendor that the message found.

LB2103 An offline model is damaged, or of a form that is not understood.
Cause: it was cut off or changed on its way, or the vendor's compiler writes something new.
Fix: copy it again from where it was made and compare SHA-256; if it is intact, landbridge capture it where the vendor's software is.

LB2104 An offline model is encrypted.
Cause: its signature, and whatever else is in it, cannot be read without the key.
Fix: build it without encryption, and sign the artifact (landbridge sign) to protect it.

LB2105 An offline model is of a version of its format that is not read here.
Cause: it was made by an older or newer release of the vendor's compiler than this release of Landbridge knows, or is of another family.
Fix: make it again by the release in the hint, or write its signature down with landbridge capture where the vendor's software is.

LB2106 The format of an offline model does not tell what it expects.
Cause: only the vendor's software could tell, and it is not here.
Fix: run landbridge capture FILE where the software is, and put FILE.sig.json beside the file; or give signature=lb.Signature(...).

LB2107 A sidecar is of another blob, or is none.
Cause: the offline model was made again and its .sig.json was not.
Fix: landbridge capture FILE again.

LB2108 A call does not match what its offline model expects.
Cause: another number of values, dtype, shape or order than the blob was compiled for.
Fix: follow the line that the hint proposes, such as a cast; or re-make the offline model for what the program has.

LB2109 A blob does not fit in the place of another.
Cause: landbridge swap keeps the plan, so that ports must be the same and gears need no more room.
Fix: compile the model anew with the new blob.

LB2110 A port of an offline model has an element type that cannot be passed.
Cause: NumPy and the artifact have no such elements.
Fix: re-make the offline model with inputs and outputs of a plain type, such as float16.

LB2111 The image pre-processing (AIPP) in an offline model cannot be used.
Cause: dynamic AIPP is set call by call through the vendor's interface; or the format of its source is not known.
Fix: compile the model with static AIPP.

LB2112 An option names something that an offline model does not have.
Cause: such as a function or symbol that is not in the file.
Fix: use a name from the hint; landbridge inspect FILE lists them.

LB2200 A value is not where the rules want it.
Cause: see the message.
Fix: follow the hint.

LB2201 In strict mode, copies or casts are missing.
Cause: strict mode inserts nothing: every value must be brought to its device by the program, as in MegEngine.
Fix: add the lines that the message lists, or compile with mode="auto".

LB2202 There is no way between two devices.
Cause: data crosses only between the CPU and a device, over the links of the topology.
Fix: add the missing link with --link cpu-DEVICE, or leave the topology out for a star around the CPU.

LB2203 More values cross than --max-copies allows.
Cause: regions of devices are cut into more pieces than expected.
Fix: landbridge report shows why each crosses and what would spare it; offload what is between two regions too, or raise the limit.

LB2204 More bytes cross than --max-copy-bytes allows, or how many cannot be known.
Cause: large values at the borders of regions, wider types than necessary, or open dimensions.
Fix: feed narrower types (AIPP, float16) or move the borders to smaller values; fix extents with --shape.

LB2205 A region is not native code, and --fail-on-fallback allows none.
Cause: operators that cannot be compiled run in ONNX Runtime; the hint has them with the reasons.
Fix: replace the operators by others, install what the reason names, or leave the option out.

LB2206 A device needs more memory than --memory-budget allows.
Cause: the arena, constants, copies of inputs, and weights and workspace of its offline models; of gears, the largest counts.
Fix: a smaller batch or largest gear, or a larger budget.

LB2207 A value is converted for an offline model, and --fail-on-device-cast allows none.
Cause: the offline model was made with another element type than the program has there.
Fix: re-make the offline model with the program's element type, or leave the option out.

LB2300 This cannot be done here.
Cause: a valid request that this build, target or vendor does not support.
Fix: follow the hint.

LB2301 Operators cannot be compiled to native code.
Cause: the compiler has no rule for them, and fallback regions are not allowed or cannot run them either.
Fix: leave --no-fallback out so that ONNX Runtime runs them, or replace them.

LB2302 A vendor has no simulator.
Cause: --simulate names a vendor whose software runs everywhere, or whose simulator does not exist.
Fix: leave it out of --simulate; to run without its devices, use landbridge run --record and --replay.

LB2303 The compiler of a vendor cannot be called from here.
Cause: --offload needs the vendor's own compiler as a package.
Fix: install what the hint names, or compile with the vendor's tool and use --replace.

LB2304 A shape that depends on the data goes where shapes must be known.
Cause: such as the result of NonZero on its way to a device.
Fix: keep that part on the CPU, or pad to a fixed size first.

LB2305 Two vendors are on one device and do not share memory.
Cause: the same device was named for offline models of two vendors.
Fix: give each its own device.

LB2306 A model is too large for one file.
Cause: ONNX files end at 2 GiB.
Fix: keep the weights in external data, or split the model.

LB2307 A tool that this needs is not installed.
Cause: such as a linker for another processor, or the package cryptography.
Fix: install what the hint names.

LB2308 EPContext nodes cannot express this program, or Landbridge cannot read them.
Cause: they know one device a vendor and no options; sources other than the vendors' own are not read.
Fix: follow the message; compile to an artifact, which can express it.

LB2309 A vendor's compiler refuses a region.
Cause: an operator that it does not have; its words are in the message.
Fix: leave that operator out of the region.

LB2310 Only a program from an ONNX model can be offloaded.
Cause: vendors' compilers read ONNX, and a module has none.
Fix: export the module to ONNX first, or embed a finished offline model.

LB2311 The simulator's model maker cannot translate a model.
Cause: it knows the operators that tests need, not all of the vendor's.
Fix: leave the operator out of the region, or use the vendor's own compiler.

LB2312 A value is of a kind that cannot stand here.
Cause: a sparse tensor, or a value whose type or shape is not known where one must be.
Fix: name the extents with --shape, or choose another border.

LB2313 Values for a self-test cannot be computed or kept.
Cause: the reference is the ONNX model; a module has none, and values that are no tensors of numbers cannot be kept.
Fix: give the ONNX model that means the same with --golden-reference (in Python: golden_reference=).

LB3000 An artifact cannot be read.
Cause: the path is wrong, the rights do not allow it, or it is no regular file.
Fix: correct the path.

LB3100 An artifact contradicts itself.
Cause: its digests hold, so it was written so: by a broken or malicious writer.
Fix: compile it anew; if Landbridge wrote it, please report it.

LB3101 A file is no artifact.
Cause: it does not begin as one; perhaps it is the model or the offline model.
Fix: give what landbridge compile wrote.

LB3102 An artifact is damaged.
Cause: bytes changed since it was written.
Fix: copy it again from where it was made, and compare the digest that landbridge inspect shows.

LB3103 An artifact was cut off or has something appended.
Cause: a copy that broke off, or a disk that was full.
Fix: copy it again.

LB3200 An artifact cannot run on this runtime or machine.
Cause: see the message.
Fix: landbridge doctor ARTIFACT lists everything that is missing.

LB3201 An artifact is of a newer format.
Cause: it was compiled by a newer Landbridge than the one that is installed here.
Fix: pip install --upgrade landbridge here, or compile it with this release.

LB3202 The host code of an artifact is for another processor.
Cause: it was compiled for another architecture, or for instructions that this processor lacks.
Fix: compile it with --target for this machine, such as 'llvm -mcpu=x86-64-v2'.

LB3203 An artifact needs a vendor or a device that is not known here.
Cause: the package of the vendor's plug-in is not installed.
Fix: install it; landbridge doctor ARTIFACT lists all that is needed.

LB3204 The host code of an artifact cannot be loaded.
Cause: the C library here is older than the one it was linked with, or memory files cannot be executed.
Fix: follow the system's words in the message; compile on a machine with an older C library.

LB3300 An artifact asks for more than is allowed.
Cause: a number in it is beyond the limits of the format (docs/artifact.md).
Fix: compile it anew; if Landbridge wrote it, please report it.

LB3400 An artifact is not trusted.
Cause: see the message.
Fix: follow the hint.

LB3401 An artifact is not the one that was pinned.
Cause: trust= names the digest of another file, perhaps of an older build.
Fix: compare with landbridge inspect ARTIFACT; if the new one is meant, pin its digest.

LB3402 An artifact is not signed by a key that is trusted.
Cause: it is not signed, or by somebody else, or for another file.
Fix: landbridge sign it with a trusted key, or trust the signer's .pub.

LB3403 The store of trusted keys cannot be used.
Cause: the folder that LANDBRIDGE_TRUST names is missing or empty, has a file that is no key, or can be written by anybody.
Fix: mend the folder; as long as the variable is set, nothing loads without it.

LB4000 A vendor's call failed.
Cause: the message has the call, the vendor's code and its words.
Fix: follow the hint; landbridge doctor shows versions and free memory.

LB4001 A vendor's library or package is missing.
Cause: the driver or SDK is not installed on this machine, or not where libraries are looked for.
Fix: install what the hint names; without the hardware, --simulate or --replay.

LB4002 There is no such device.
Cause: the artifact was compiled for a device number that this machine does not have.
Fix: landbridge doctor lists the devices; compile for one that exists.

LB4003 A device has no memory left.
Cause: other sessions or processes hold it, or the batch or gear is too large.
Fix: close other sessions, use a smaller batch; landbridge report shows what is needed.

LB4004 An offline model was built for another chip.
Cause: vendors' blobs are not portable between chips, nor always between their variants.
Fix: build it again for the chip that the message found, and landbridge swap it in.

LB4005 An offline model was built by another version of the vendor's software than is installed.
Cause: such blobs hold for exactly one version.
Fix: install the version in the message, or build the offline model again and landbridge swap it in.

LB4006 An offline model was made for the simulator and cannot run on a device.
Cause: the simulator's model maker wrote it.
Fix: compile it with the vendor's own compiler, or run with --simulate.

LB4007 A loaded offline model is not what its signature says.
Cause: the sidecar or given signature is not of this blob, or the vendor's software reads it differently.
Fix: landbridge capture the blob again on this machine, and compile again.

LB4008 A vendor's software refuses an offline model.
Cause: its own words are in the message; mostly version, chip or damage.
Fix: landbridge doctor ARTIFACT; build the offline model again for what is installed here.

LB4009 A vendor's software failed while an offline model ran.
Cause: its own words are in the message.
Fix: run it alone by the vendor's tool; landbridge verify tells whether its inputs are right.

LB4010 An offline model gave something else than its signature says.
Cause: the shape or type of an output is not what the program was compiled for.
Fix: correct the signature, and compile again.

LB4011 A recording has no such call, or is damaged.
Cause: --replay gives only what --record saw: the same blob and the same inputs.
Fix: record this run where the device is, or replay with the inputs of a recorded one.

LB4012 A host kernel failed.
Cause: the host's code reports a value that it cannot work with; the message has its words.
Fix: check the inputs; if they are right, please report it.

LB4013 Several devices are missing.
Cause: each is listed with its own reason.
Fix: landbridge doctor ARTIFACT has a fix for each.

LB4014 A vendor's library lacks a function.
Cause: the release that is installed is too old or too new.
Fix: install the release in the hint.

LB4015 A simulator cannot be built.
Cause: simulators are compiled by the C compiler on first use; there is none, or its folder cannot be written.
Fix: install gcc or clang, or set CC; the message has the compiler's words.

LB4016 A device was used after it was closed.
Cause: a call outlived its session.
Fix: keep the session open until the last call is done.

LB4017 None of the blobs of an offline model can run here.
Cause: each is listed with its own reason: another chip or version, a missing library or device, no memory.
Fix: mend one of these, or compile with a blob for this machine, or with fallback=onnxruntime, which runs the region on the CPU.

LB4018 An offline model cannot run here, for several reasons.
Cause: each is listed: another chip or release than it was made for, functions that the installed library lacks.
Fix: follow the fix of each; landbridge doctor ARTIFACT lists what is installed.

LB4100 A device is lost.
Cause: it failed in such a way that nothing more can be done with it in this process.
Fix: end the process and start it again; if it comes back, see the vendor's logs.

LB4200 A deadline passed.
Cause: a run took longer than it was given, or waited too long for others.
Fix: give more time or more leases; a run that had begun cannot be broken off, and its session is lost: load it again.

LB5000 A session was used after it was closed.
Cause: another thread closed it, or a with block has ended.
Fix: load the artifact again, or close it later.

LB5100 A session was used in a forked process.
Cause: devices and threads do not survive a fork.
Fix: load the artifact in the child, or start children by spawn.

LB9000 Landbridge broke its own rules.
Cause: a bug of Landbridge.
Fix: please report it, with the traceback and the artifact or model.

LB9100 A pass met a program that it cannot work with.
Cause: a bug of Landbridge.
Fix: please report it, with the reproducer that the message names.

LB9101 A pass failed.
Cause: a bug of Landbridge; the program before the pass was written to a file.
Fix: please report it with that file; landbridge reproduce FILE runs it again.

LB9200 A program breaks the rules of its phase.
Cause: a bug of Landbridge, or a program that was made by hand.
Fix: the message lists what is broken; if a pass made it, please report it.

LB9300 A plan contradicts itself.
Cause: a bug of Landbridge, or a plan that was made by hand.
Fix: please report it.
"""
