# `cmake --install build/release --prefix /usr`: programs, the shipped model, service, manual pages,
# completions. sorad finds sora-worker beside itself and the model in ../share.
include(GNUInstallDirs)
install(TARGETS sora-worker sorad soractl DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY models/mini DESTINATION ${CMAKE_INSTALL_DATADIR}/sorafarm/models)
install(FILES deploy/sorad.service DESTINATION lib/systemd/system)
foreach(made "soractl manual:soractl.1:share/man/man1"
        "sorad --manual:sorad.8:share/man/man8"
        "sora-worker manual:sora-worker.1:share/man/man1"
        "soractl completion bash:soractl:share/bash-completion/completions"
        "soractl completion fish:soractl.fish:share/fish/vendor_completions.d")
    string(REPLACE ":" ";" parts ${made})
    list(GET parts 0 command)
    list(GET parts 1 name)
    list(GET parts 2 folder)
    install(CODE "set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${folder}\")
        file(MAKE_DIRECTORY \"\${folder}\")
        execute_process(COMMAND sh -c \"'$<TARGET_FILE_DIR:soractl>'/${command}\"
            OUTPUT_FILE \"\${folder}/${name}\" COMMAND_ERROR_IS_FATAL ANY)")
endforeach()
